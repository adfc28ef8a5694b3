"""What a task was given, as its guest fetches it: each file under a name of its own, and nothing that is another's."""

import hashlib
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager

import httpx
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Router

from agentcontainer_local import guest
from agentcontainer_local.engine.host import Host
from agentcontainer_local.guest.commands import in_force
from agentcontainer_local.pi import workspace
from agentcontainer_local.store import agents, db, files, tasks

NAMES = st.sampled_from(["a.csv", "a-2.csv", "a-3.csv", "a-2", "a", ".a", "x/a", "x_a", "é" * 200])


def stored(host: Host, filename: str = "data.csv") -> str:
    account, id = db.row(host.db, "SELECT id FROM accounts")["id"], db.new_id("file")
    host.files.mkdir(exist_ok=True)
    content = filename.encode()
    files.path(host.files, id).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return files.add(host.db, account, filename, None, id, len(content), digest, host.now())["id"]


async def dispatched(client, file_ids: list[str], agent: str = "agt_standard_data") -> str:
    body = {"instructions": "Look.", "inputFileIds": file_ids, "overrides": {"model": "scripted"}}
    answer = await client.post(f"/agents/{agent}/tasks", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@asynccontextmanager
async def inside(host: Host, task_id: str):
    door, app = guest.Door(host, task_id, "run_1"), Router(guest.ROUTES)

    async def bound(scope, receive, send):
        await app({**scope, "door": door}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(bound), base_url="http://host/guest/inputs") as caller:
        yield caller


@contextmanager
def counted():
    """Lines of Python that are run within."""
    lines: Counter[str] = Counter()

    def trace(frame, event, argument):
        lines[event] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


async def test_a_guest_has_the_files_of_its_task_of_its_messages_and_of_its_agent_and_no_others(client, host):
    agent = (await client.post("/agents/agt_standard_data/fork")).json()["id"]
    reference, given, other = stored(host, "reference"), stored(host, "given"), stored(host, "other")
    assert (await client.post(f"/agents/{agent}/reference-files", json={"fileIds": [reference]})).is_success
    task_id = await dispatched(client, [given], agent)
    await dispatched(client, [other])
    body = {"instructions": "Talk.", "message": "Hi", "overrides": {"model": "scripted"}}
    talk = (await client.post(f"/agents/{agent}/conversations", json=body)).json()["task"]["id"]
    sent = {"content": "And this?", "inputFiles": [{"fileId": other}]}
    assert (await client.post(f"/conversations/{talk}/messages", json=sent)).status_code == 201
    async with inside(host, task_id) as guest_of_task, inside(host, talk) as guest_of_talk:
        answers = {
            name: [(await caller.get(f"/{name}")).text for caller in (guest_of_task, guest_of_talk)]
            for name in ("TASK.md", reference, given, other)
        }
        assert answers.pop("TASK.md") == ["Look.", "Talk."] and answers.pop(reference) == ["reference"] * 2
        assert answers[given][0] == "given" and "has no input" in answers[given][1]
        assert answers[other][1] == "other" and "has no input" in answers[other][0]
        assert "`~/task_files/given` (5 bytes)" in (await guest_of_task.get("/HARNESS.md")).text
        assert (await guest_of_task.get("/README.md")).status_code == 404


async def test_a_file_costs_the_same_to_fetch_however_many_there_are(client, host):
    """Else a thousand files would be all that the server has to do for a while."""
    few, many = [stored(host) for _ in range(2)], [stored(host) for _ in range(500)]
    costs = []
    for ids in (few, many):
        async with inside(host, await dispatched(client, ids)) as caller:
            await caller.get(f"/{ids[0]}")
            with counted() as lines:
                assert (await caller.get(f"/{ids[-1]}")).text == "data.csv"
            costs.append(lines["line"])
    assert costs[1] < costs[0] + 500


async def test_what_a_guest_is_told_costs_the_same_however_many_files_the_conversation_has(client, host):
    """It is worked out anew with each thing that happens in a turn."""
    costs = []
    for ids in ([stored(host) for _ in range(n)] for n in (2, 500)):
        body = {"instructions": "Talk.", "message": "Hi", "inputFileIds": ids, "overrides": {"model": "scripted"}}
        talk = (await client.post("/agents/agt_standard_data/conversations", json=body)).json()["task"]["id"]
        tasks.begin_run(host.db, talk, host.now())
        tasks.apply(host.db, talk, "started", host.now())
        in_force(host.db, talk)
        with counted() as lines:
            assert [command["message"] for command in in_force(host.db, talk)] == ["Hi"]
        costs.append(lines["line"])
    assert costs[1] < costs[0] + 500


def test_five_thousand_files_of_one_name_are_placed_at_once():
    with counted() as lines:
        placed = workspace._placed("task_files", [{"id": "file_1", "filename": "data.csv", "size_bytes": 1}] * 5000)
    assert len({item.path for item in placed}) == 5000 and placed[-1].path == "task_files/data-5000.csv"
    assert lines["line"] < 1_000_000


@given(st.lists(NAMES, max_size=12))
def test_each_file_has_a_name_of_its_own_and_the_first_one_keeps_it(names):
    placed = workspace._placed("task_files", [{"id": "file_1", "filename": name, "size_bytes": 1} for name in names])
    paths = [item.path.removeprefix("task_files/") for item in placed]
    assert len(set(paths)) == len(paths)
    for at, (name, path) in enumerate(zip(names, paths, strict=True)):
        wanted = files.safe_name(name)
        assert (path == wanted) == (wanted not in paths[:at])


async def test_files_of_a_message_are_told_in_the_order_in_which_they_were_given(client, host):
    ids = [stored(host, f"{n}.txt") for n in range(8)]
    body = {"instructions": "Talk.", "message": "Hi", "inputFileIds": ids, "overrides": {"model": "scripted"}}
    begun = (await client.post("/agents/agt_standard_data/conversations", json=body)).json()
    sent = {"content": "And these?", "inputFileIds": ids[::-1]}
    next_one = (await client.post(f"/conversations/{begun['task']['id']}/messages", json=sent)).json()
    assert [file["id"] for file in begun["message"]["files"]] == ids
    assert [file["id"] for file in next_one["message"]["files"]] == ids[::-1]


async def test_an_agent_has_no_more_reference_files_than_a_task_is_given(client, host, monkeypatch):
    monkeypatch.setattr(agents, "MAX_REFERENCE_FILES", 3)
    agent, ids = (await client.post("/agents/agt_standard_data/fork")).json()["id"], [stored(host) for _ in range(4)]
    answers = [
        await client.post(f"/agents/{agent}/reference-files", json={"fileIds": some})
        for some in (ids[:2], ids[2:], ids[:3])
    ]
    told = (await client.get(f"/agents/{agent}/reference-files")).json()["data"]
    task = tasks.get(host.db, await dispatched(client, [], agent))
    assert len([item for item in workspace.inputs(host.db, task) if item.file]) == len(told) == 3
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    assert answers[1].json()["error"]["fields"][0]["field"] == "fileIds"
