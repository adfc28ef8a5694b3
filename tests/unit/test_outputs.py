"""What an agent hands over, at the door: bytes that no row names are bounded, and go when their claim goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import Router

from agentcontainer_local import guest
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, tasks
from tests.unit.test_housekeeping import with_settings
from tests.unit.test_lifecycle import dispatched


@pytest.fixture
def task(host: Host) -> dict:
    task = dispatched(host)
    host.files.mkdir()
    tasks.begin_run(host.db, task["id"], host.now())
    return tasks.apply(host.db, task["id"], "started", host.now())


@pytest.fixture
async def inside(host: Host, task: dict) -> AsyncIterator[httpx.AsyncClient]:
    """The guest's side of its door; one delivery may have 1,000 bytes."""
    bounded = with_settings(host, max_output_bytes=1000)
    door, app = guest.Door(bounded, task["id"], tasks.open_run(host.db, task["id"])["id"]), Router(guest.ROUTES)

    async def bound(scope, receive, send):
        await app({**scope, "door": door}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(bound), base_url="http://host") as client:
        yield client


def stored(host: Host) -> int:
    """Bytes on the disk, whole files or not."""
    return sum(path.stat().st_size for path in host.files.rglob("*") if path.is_file())


def claim(*sizes: int) -> dict:
    files = [{"path": f"{n}", "filename": f"{n}", "sizeBytes": size} for n, size in enumerate(sizes)]
    return {"kind": "finish", "completion": "complete", "message": "Done", "files": files}


async def begun(inside: httpx.AsyncClient, *sizes: int) -> str:
    answer = await inside.post("/guest/outputs", json=claim(*sizes))
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def sent(inside: httpx.AsyncClient, id: str, index: int, content) -> int:
    return (await inside.put(f"/guest/outputs/{id}/{index}", content=content)).status_code


async def test_claims_that_are_never_committed_hold_together_what_one_may(host: Host, inside):
    for _ in range(30):
        id = await begun(inside, 300, 100)
        assert await sent(inside, id, 0, b"x" * 300) == await sent(inside, id, 1, b"x" * 100) == 200
        assert stored(host) <= 1000
    assert await sent(inside, await begun(inside, 1000), 0, b"x" * 1000) == 200
    assert stored(host) == 1000


async def test_claims_of_nothing_are_few_and_the_oldest_are_forgotten(inside):
    ids = [await begun(inside, 0) for _ in range(20)]
    codes = [await sent(inside, id, 0, b"") for id in ids]
    assert codes == [404] * 16 + [200] * 4


async def test_a_file_that_is_sent_again_takes_the_place_of_the_first(host: Host, inside):
    id = await begun(inside, 500)
    for letter in (b"a", b"b", b"c"):
        assert await sent(inside, id, 0, letter * 500) == 200
        assert stored(host) == 500
    assert (await inside.post(f"/guest/outputs/{id}", json={})).status_code == 200
    file = db.row(host.db, "SELECT id FROM files")["id"]
    assert (host.files / file).read_bytes() == b"c" * 500


class Slow:
    """A body that waits in its middle."""

    def __init__(self, half: int):
        self.half, self.waits, self.goes_on = half, asyncio.Event(), asyncio.Event()

    async def __aiter__(self):
        yield b"1" * self.half
        self.waits.set()
        await self.goes_on.wait()
        yield b"2" * self.half


@contextlib.asynccontextmanager
async def sending(inside: httpx.AsyncClient, id: str, body: Slow) -> AsyncIterator[asyncio.Task]:
    """The second half is sent when this is left."""
    answer = asyncio.create_task(sent(inside, id, 0, body))
    await asyncio.wait_for(body.waits.wait(), 5)
    yield answer
    body.goes_on.set()
    await answer


async def test_what_is_on_its_way_for_a_claim_that_gave_way_is_not_kept(host: Host, inside):
    async with sending(inside, await begun(inside, 800), Slow(400)) as answer:
        other = await begun(inside, 900)
    assert answer.result() == 404
    assert stored(host) == 0
    assert await sent(inside, other, 0, b"x" * 900) == 200


async def test_bytes_that_come_after_the_commit_do_not_touch_what_was_accepted(host: Host, inside):
    id = await begun(inside, 800)
    assert await sent(inside, id, 0, b"a" * 800) == 200
    async with sending(inside, id, Slow(400)) as answer:
        assert (await inside.post(f"/guest/outputs/{id}", json={})).status_code == 200
    assert answer.result() == 404
    file = db.row(host.db, "SELECT id FROM files")["id"]
    assert (host.files / file).read_bytes() == b"a" * 800
    assert stored(host) == 800


@pytest.mark.parametrize(
    ("completion", "given", "accepted"),
    [
        ("complete", [("a", "report"), ("b", None)], True),
        ("complete", [("b", None), ("a", "report"), ("c", None)], True),
        ("incomplete", [("b", None)], True),
        ("complete", [("b", None)], False),
        ("complete", [("a", "report"), ("b", "report")], False),
        ("complete", [("a", "report"), ("b", "other")], False),
        ("complete", [], False),
    ],
)
async def test_beside_the_named_outputs_files_without_a_name_are_allowed(
    host: Host, inside, task, completion, given, accepted
):
    host.db.conn.execute("UPDATE tasks SET output_policy = ?", ('{"mode":"named","files":[{"name":"report"}]}',))
    files = [{"path": path, "filename": path, "sizeBytes": 0, "outputName": name} for path, name in given]
    claim = {"kind": "finish", "completion": completion, "message": "M", "files": files}
    answer = await inside.post("/guest/outputs", json=claim)
    assert answer.is_success == accepted, answer.text
    if accepted:
        for index in range(len(given)):
            assert await sent(inside, answer.json()["id"], index, b"") == 200
        assert (await inside.post(f"/guest/outputs/{answer.json()['id']}", json={})).is_success
        kept = db.rows(host.db, "SELECT filename, output_name FROM task_outputs JOIN files ON files.id = file_id")
        assert [(row["filename"], row["output_name"]) for row in kept] == given
