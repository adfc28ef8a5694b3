"""What is removed in time, what is refused before the disk is full, and what happens when it is full all the same."""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from agentcontainer_local.engine import timers
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, files, tasks
from agentcontainer_local.store.db import row
from tests.conftest import Clock, calling
from tests.unit.test_lifecycle import dispatched

DAY = 86_400


def with_settings(host: Host, **changes) -> Host:
    context = dataclasses.replace(host.context, settings=host.settings.model_copy(update=changes))
    return dataclasses.replace(host, context=context)


def made(host: Host, clock: Clock, content: bytes = b"output") -> str:
    """The file that a task made, which then finished."""
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", clock())
    name = db.new_id("file")
    (host.files / name).write_bytes(content)
    file = files.add(
        host.db, task["account_id"], "out", None, name, len(content), hashlib.sha256(content).hexdigest(), clock()
    )
    host.db.conn.execute("INSERT INTO task_outputs (task_id, file_id) VALUES (?, ?)", (task["id"], file["id"]))
    tasks.apply(host.db, task["id"], "finished", clock())
    return name


@pytest.fixture(autouse=True)
def folder(host: Host) -> None:
    host.files.mkdir(exist_ok=True)


def kept(host: Host) -> set[str]:
    named = {entry["id"] for entry in db.rows(host.db, "SELECT id FROM files")}
    assert named == {path.name for path in host.files.iterdir() if path.is_file()}
    return named


async def test_events_and_files_of_an_ended_task_go_after_its_time_and_the_task_stays(host, clock, client):
    old = made(host, clock)
    living = dispatched(host)
    clock.advance(5 * DAY)
    new = made(host, clock)
    tidied = with_settings(host, retention_days=3)
    await timers.tidy(tidied)
    assert kept(host) == {new}
    assert old not in kept(host)
    first = row(host.db, "SELECT id FROM tasks ORDER BY number LIMIT 1")["id"]
    assert (await client.get(f"/tasks/{first}")).json()["status"] == "finished"
    assert (await client.get(f"/tasks/{first}/events")).json()["data"] == []
    assert (await client.get(f"/tasks/{first}/files")).json()["data"] == []
    assert (await client.get(f"/tasks/{living['id']}/events")).json()["data"] != []


async def test_without_a_setting_nothing_is_ever_removed(host, clock):
    file = made(host, clock)
    clock.advance(10_000 * DAY)
    await timers.tidy(host)
    assert kept(host) == {file}


async def test_beyond_so_many_bytes_the_oldest_outputs_go_first(host, clock):
    made_in_turn = []
    for _ in range(4):
        made_in_turn.append(made(host, clock, b"x" * 100))
        clock.advance(10)
    await timers.tidy(with_settings(host, retention_bytes=250))
    assert kept(host) == set(made_in_turn[2:]), "all at once: more may come in the half minute until the next look"
    await timers.tidy(with_settings(host, retention_bytes=200))
    assert kept(host) == set(made_in_turn[2:])


async def test_a_file_that_something_else_needs_stays(host, clock, client):
    output = made(host, clock)
    body = {"instructions": "Read it", "inputFileIds": [output], "overrides": {"model": "scripted"}}
    assert (await client.post("/agents/agt_standard_coding/tasks", json=body)).status_code == 201
    clock.advance(10 * DAY)
    await timers.tidy(with_settings(host, retention_days=1))
    assert kept(host) == {output}


async def test_new_work_is_refused_before_the_disk_is_full_and_other_work_is_not(host, clock):
    task = dispatched(host, conversation=True)
    crowded = with_settings(host, min_free_percent=100)
    async with calling(crowded, "ac_live_" + "k" * 32) as client:
        work = {"instructions": "Work", "overrides": {"model": "scripted"}}
        for path, body in (
            ("/agents/agt_standard_coding/tasks", work),
            ("/agents/agt_standard_coding/conversations", {**work, "message": "Hello"}),
            (f"/conversations/{task['id']}/messages", {"content": "More"}),
        ):
            refused = await client.post(path, json=body)
            assert refused.status_code == 503
            error = refused.json()["error"]
            assert error["code"] == "unavailable" and "nearly full" in error["message"]
        assert (await client.get(f"/tasks/{task['id']}")).status_code == 200
        assert (await client.post(f"/tasks/{task['id']}/cancel")).status_code == 200


async def test_a_store_that_cannot_grow_refuses_and_goes_on_when_it_can(host, client):
    """SQLite's own limit gives the same error as a disk that is full."""
    pages = row(host.db, "PRAGMA page_count")["page_count"]
    host.db.conn.execute(f"PRAGMA max_page_count = {pages + 100}")
    body = {"instructions": "W" * 20_000, "overrides": {"model": "scripted"}}
    codes = [(await client.post("/agents/agt_standard_coding/tasks", json=body)).status_code for _ in range(12)]
    written = row(host.db, "SELECT count(*) AS n FROM tasks")["n"]
    assert set(codes) == {201, 503} and codes.count(201) == written
    host.db.conn.execute("PRAGMA max_page_count = 1000000")
    assert (await client.post("/agents/agt_standard_coding/tasks", json=body)).status_code == 201
    assert row(host.db, "PRAGMA integrity_check")["integrity_check"] == "ok"
    assert row(host.db, "SELECT count(*) AS n FROM messages")["n"] == written + 1


@pytest.mark.slow
def test_all_is_in_order_on_a_disk_that_is_really_full(tmp_path: Path):
    """One of 64 megabytes, in a mount namespace of its own, where this account may make one: see small_disk.py."""
    disk = tmp_path / "disk"
    disk.mkdir()
    space = ["unshare", "-Urm", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*space, "true"], capture_output=True).returncode != 0:
        pytest.skip("this account may not make a mount namespace")
    script = 'mount -t tmpfs -o size=64m tmpfs "$1" && exec "$0" -m pytest -q -p no:cacheprovider "$2"'
    tried = subprocess.run(
        [*space, script, sys.executable, disk, Path(__file__).with_name("small_disk.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "AGENTCONTAINER_SMALL_DISK": str(disk)},
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr


def test_what_a_clock_calls_old_is_old_by_the_date_alone(host, clock):
    made(host, clock)
    assert tasks.retention.too_old(host.db, clock() - timedelta(days=1)) == []
    assert len(tasks.retention.too_old(host.db, clock() + timedelta(days=1))) == 1
