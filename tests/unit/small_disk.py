"""What happens on a full disk: run by test_housekeeping, where AGENTCONTAINER_SMALL_DISK is one of 64 megabytes."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.engine import timers
from agentcontainer_local.engine.host import Host
from agentcontainer_local.process import disk_space
from agentcontainer_local.store import db, events, tasks
from agentcontainer_local.store.db import row
from tests.conftest import KEY, calling, opened_host
from tests.unit.test_housekeeping import made, with_settings
from tests.unit.test_lifecycle import dispatched
from tests.unit.test_races import door, running

MB = 1024**2
WORK = {"instructions": "Work", "overrides": {"model": "scripted"}}


class Disk:
    def __init__(self, path: Path):
        self.path = path
        self.ballast = path / "ballast"

    def fill(self, percent_free: float = 0) -> None:
        """Others fill it, until so much is free."""
        with self.ballast.open("ab", buffering=0) as ballast:
            while disk_space.free_percent(self.path) > percent_free:
                try:
                    ballast.write(bytes(64 * 1024 if percent_free else 4096))
                except OSError:
                    return

    def relieve(self, size: int | None = None) -> None:
        os.truncate(self.ballast, 0 if size is None else max(0, self.ballast.stat().st_size - size))


@pytest.fixture
def disk() -> Iterator[Disk]:
    path = Path(os.environ["AGENTCONTAINER_SMALL_DISK"])
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize <= 64 * MB
    yield Disk(path)
    for entry in path.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@pytest.fixture
def host(disk: Disk, clock) -> Iterator[Host]:
    host = opened_host(disk.path, clock)
    host.files.mkdir()
    yield host
    assert row(host.db, "PRAGMA integrity_check")["integrity_check"] == "ok"
    host.db.close()


def test_the_database_is_whole_after_a_disk_that_was_full(disk: Disk):
    store = db.open(disk.path / "agentcontainer.db")
    sql = "INSERT INTO accounts (id, billing_mode, created_at) VALUES (?, 'standard', ?)"
    disk.fill()
    written = failed = 0
    for n in range(3000):
        try:
            with store.atomic():
                store.conn.execute(sql, (f"acc_{n}", "x" * 3000))
                store.conn.execute(sql, (f"other_{n}", "x" * 3000))
            written += 1
        except sqlite3.OperationalError as error:
            assert "full" in str(error) or "I/O" in str(error)
            failed += 1
        if failed and n % 100 == 0:
            disk.relieve(200_000)
    assert written and failed
    store.close()
    store = db.open(disk.path / "agentcontainer.db")
    assert row(store, "PRAGMA integrity_check")["integrity_check"] == "ok"
    assert row(store, "SELECT count(*) AS n FROM accounts")["n"] == 2 * written
    store.close()


async def test_uploads_leave_the_database_its_part_and_new_work_is_refused_until_there_is_room(
    disk: Disk, host: Host, client: httpx.AsyncClient
):
    begun = (await client.post("/agents/agt_standard_coding/tasks", json=WORK)).json()
    ready = [(await client.post("/uploads/prepare", json={"filename": f"{n}"})).json() for n in range(24)]
    codes = [(await client.put(upload["uploadUrl"], content=bytes(4 * MB))).status_code for upload in ready]
    taken = codes.count(200)
    assert codes == [200] * taken + [503] * (24 - taken) and 10 < taken < 16
    assert disk_space.room(disk.path) >= 0
    assert len([path for path in host.files.rglob("*") if path.is_file()]) == taken
    disk.fill(percent_free=4)
    for path, body in (("/agents/agt_standard_coding/tasks", WORK), ("/uploads/prepare", {"filename": "more"})):
        refused = await client.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert f"The disk of {host.settings.data} is nearly full" in refused.json()["error"]["message"]
    kept = [
        (await client.post("/uploads/complete", json={"uploadId": upload["uploadId"]})).json()["id"]
        for upload in ready[:taken]
    ]
    assert (await client.post(f"/tasks/{begun['id']}/cancel")).status_code == 200
    assert len((await client.get(f"/files/{kept[0]}/content")).content) == 4 * MB
    assert (await client.delete(f"/files/{kept[0]}")).status_code == 204
    assert (await client.post("/agents/agt_standard_coding/tasks", json=WORK)).status_code == 201
    assert (await client.put(ready[-1]["uploadUrl"], content=bytes(MB))).status_code == 200


async def test_what_is_at_work_when_the_disk_is_full_goes_on_when_it_is_not(disk: Disk, host: Host, client):
    task = running(host)
    fearless = with_settings(host, min_free_percent=0)
    line = b'{"seq":%d,"at":0,"event":{"type":"message","text":"%s","stopReason":"toolUse"}}\n'
    async with door(host, task) as inside, calling(fearless, KEY) as careless:
        disk.fill()
        said = 0
        while (answer := await inside.post("/guest/events", content=line % (said + 1, b"x" * 50_000))).is_success:
            said += 1
        assert answer.status_code == 503  # which the guest takes as: ask again
        for _ in range(3):
            refused = await careless.post("/agents/agt_standard_coding/tasks", json={**WORK, "title": "x" * 200})
            assert refused.status_code == 503
        assert (await client.get(f"/tasks/{task['id']}")).json()["status"] == "running"
        disk.relieve()
        again = await inside.post("/guest/events", content=line % (said + 1, b"again"))
        assert (again.status_code, again.json()) == (200, {"ack": said + 1})
        claim = {"kind": "finish", "completion": "complete", "message": "Done", "files": []}
        id = (await inside.post("/guest/outputs", json=claim)).json()["id"]
        assert (await inside.post(f"/guest/outputs/{id}", json={})).status_code == 200
    assert (await client.get(f"/tasks/{task['id']}")).json()["status"] == "finished"
    assert (await client.post("/agents/agt_standard_coding/tasks", json=WORK)).status_code == 201
    created = [
        event for event in events.page(host.db, task["id"], 10_000, 0, True) if event["type"] == events.MESSAGE_CREATED
    ]
    assert len(created) == 1 + said + 1, "nothing is lost, and nothing there twice"


async def test_an_agent_hands_over_what_there_is_room_for(disk: Disk, host: Host):
    disk.fill(percent_free=10)
    task = running(host)
    async with door(host, task) as inside:

        def claim(size: int) -> dict:
            return {
                "kind": "finish",
                "completion": "complete",
                "message": "Done",
                "files": [{"path": "a", "filename": "a", "sizeBytes": size}],
            }

        refused = await inside.post("/guest/outputs", json=claim(8 * MB))
        assert refused.status_code == 422
        assert f"disk has no space for {8 * MB} bytes" in refused.json()["error"]["message"]
        id = (await inside.post("/guest/outputs", json=claim(2 * MB))).json()["id"]
        assert (await inside.put(f"/guest/outputs/{id}/0", content=bytes(2 * MB))).status_code == 200
        assert (await inside.post(f"/guest/outputs/{id}", json={})).status_code == 200
    assert tasks.get(host.db, task["id"])["status"] == "finished"


async def test_kept_workspaces_make_room_oldest_first_well_before_work_is_refused(disk: Disk, host: Host, clock):
    keeping = with_settings(host, workspace_retention_seconds=3600)
    made(host, clock)
    made(host, clock)
    dispatched(host)

    def going() -> list[int]:
        found = tasks.retention.workspaces(host.db, clock(), timedelta(hours=1), keeping.crowded)
        return [tasks.get(host.db, task["id"])["number"] for task in found]

    looks = host.look_again.mark()
    await timers.scan(keeping)
    assert going() == [] and not looks.done()
    disk.fill(percent_free=9)
    keeping.check_room()
    await timers.scan(keeping)
    assert going() == [1] and looks.done(), "the supervisor is told, though no task changes"
    host.db.conn.execute("UPDATE tasks SET workspace_removed_at = '' WHERE number = 1")
    assert going() == [2]
    disk.relieve()
    assert going() == []
    clock.advance(3600)
    assert going() == [2]
