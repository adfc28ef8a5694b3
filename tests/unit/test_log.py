"""What is answered is on disk: the log is synced in a thread, once for all that wrote in the same moment."""

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, files, tasks
from agentcontainer_local.store.db import rows
from agentcontainer_local.store.log import Log
from tests.conftest import opened_host

CREATE = "/agents/agt_standard_coding/tasks"
TASK = {"instructions": "Work", "overrides": {"model": "scripted"}}


class Disk:
    """Syncs the log; `held` keeps it from it. What a loss of power would leave is in `left`."""

    def __init__(self, host: Host, folder: Path):
        self.host, self.left = host, folder / "left"
        self.left.mkdir()
        self.syncs, self.free, self.asked = 0, threading.Event(), threading.Event()
        self.free.set()

    def sync(self, file: int) -> None:
        self.asked.set()
        assert self.free.wait(30)
        self.syncs += 1
        for suffix in ("", "-wal"):
            shutil.copyfile(
                f"{self.host.settings.data}/agentcontainer.db{suffix}", self.left / f"agentcontainer.db{suffix}"
            )
        os.fdatasync(file)

    def hold(self) -> None:
        self.free.clear()

    def ids(self) -> set[str]:
        """The tasks that a server would find after a loss of power."""
        store = db.open(self.left / "agentcontainer.db")
        try:
            return {task["id"] for task in rows(store, "SELECT id FROM tasks")}
        finally:
            store.close()


@pytest.fixture
def host(tmp_path: Path, clock):
    host = opened_host(tmp_path, clock)
    host.db.serve()
    yield host
    host.db.close()


@pytest.fixture
def disk(host: Host, tmp_path: Path) -> Disk:
    disk = Disk(host, tmp_path)
    host.db._log.close()
    host.db._log = Log(f"{host.settings.data}/agentcontainer.db-wal", disk.sync)
    return disk


async def begun(disk: Disk, *requests) -> list[asyncio.Task]:
    """Requests that have written what they write, and wait for the disk."""
    disk.hold()
    waiting = [asyncio.create_task(request) for request in requests]
    await asyncio.to_thread(disk.asked.wait)
    for _ in range(200):
        await asyncio.sleep(0)
    return waiting


async def test_nothing_is_answered_before_it_is_on_disk_and_others_are_served_meanwhile(client, disk: Disk):
    (waiting,) = await begun(disk, client.post(CREATE, json=TASK))
    (seen,) = (await client.get("/tasks")).json()["data"]
    assert not waiting.done()
    disk.free.set()
    assert (await waiting).json()["id"] == seen["id"]


async def test_requests_that_come_at_once_share_a_sync_and_each_of_them_is_there_after_a_loss_of_power(
    client, disk: Disk
):
    waiting = await begun(disk, *(client.post(CREATE, json=TASK) for _ in range(20)))
    disk.free.set()
    answered = {(await one).json()["id"] for one in waiting}
    assert len(answered) == 20 and disk.ids() == answered
    assert disk.syncs <= 2


async def test_each_answer_is_there_after_a_loss_of_power_whenever_that_comes(client, disk: Disk):
    async def create() -> None:
        for _ in range(5):
            id = (await client.post(CREATE, json=TASK)).json()["id"]
            assert id in disk.ids()

    await asyncio.gather(*(create() for _ in range(3)))


async def test_a_request_that_is_refused_takes_no_other_along(client, disk: Disk):
    bad = {**TASK, "inputFileIds": ["file_nobodys"]}
    waiting = await begun(disk, *(client.post(CREATE, json=body) for body in (TASK, bad, TASK)))
    disk.free.set()
    first, refused, last = [await one for one in waiting]
    assert (first.status_code, refused.status_code, last.status_code) == (201, 422, 201)
    assert disk.ids() == {first.json()["id"], last.json()["id"]}


async def test_a_repeated_request_is_not_answered_before_the_first_one_is_on_disk(client, disk: Disk):
    key = {"Idempotency-Key": "once"}
    waiting = await begun(disk, *(client.post(CREATE, json=TASK, headers=key) for _ in range(2)))
    assert not any(one.done() for one in waiting)
    disk.free.set()
    first, again = [await one for one in waiting]
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    assert disk.ids() == {first.json()["id"]}


async def test_a_request_that_is_given_up_keeps_no_other_from_its_answer(client, disk: Disk):
    given_up, waiting = await begun(disk, client.post(CREATE, json=TASK), client.post(CREATE, json=TASK))
    given_up.cancel()
    disk.free.set()
    assert (await waiting).json()["id"] in disk.ids()


async def test_the_bytes_that_an_upload_had_are_removed_when_those_in_their_stead_are_on_disk(client, host, disk: Disk):
    """Else a loss of power would leave a row that names bytes which are gone."""
    upload = (await client.post("/uploads/prepare", json={"filename": "a"})).json()
    url = upload["uploadUrl"]
    first = (await client.put(url, content=b"first")).json()["storageId"]
    disk.asked.clear()
    waiting = await begun(disk, client.put(url, content=b"second"))
    assert not waiting[0].done() and files.path(host.files, first).read_bytes() == b"first"
    disk.free.set()
    second = (await waiting[0]).json()["storageId"]
    assert {path.name for path in host.files.iterdir() if path.is_file()} == {second}


async def test_what_only_reads_waits_for_no_disk(client, disk: Disk):
    waiting = await begun(disk, client.post(CREATE, json=TASK))
    for path in ("/tasks", "/agents", "/account"):
        assert (await client.get(path)).status_code == 200
    assert (await client.post(CREATE, json={**TASK, "instructions": 1})).status_code == 422
    disk.free.set()
    await asyncio.gather(*waiting)


async def test_where_the_disk_fails_nothing_is_said_to_be_stored_and_each_commit_syncs_for_itself_again(
    client, host: Host
):
    before = (await client.post(CREATE, json=TASK)).json()["id"]
    file, host.db._log._file = host.db._log._file, os.open("/dev/null", os.O_RDONLY)  # which cannot be synced
    os.close(file)
    refused = await client.post(CREATE, json=TASK)
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "unavailable"
    synchronous = []
    host.db.subscribe(lambda *_: synchronous.append(db.single(host.db, "PRAGMA synchronous")["synchronous"]))
    after = await client.post(CREATE, json=TASK)
    assert after.status_code == 201 and synchronous == [2]
    listed = {task["id"] for task in (await client.get("/tasks")).json()["data"]}
    assert {before, after.json()["id"]} < listed and len(listed) == 3


async def test_after_a_sync_that_failed_nothing_is_stored_behind_what_may_be_missing_from_the_log(
    client, host: Host, disk: Disk
):
    """As long as somebody reads from the log it can't be begun anew, and a loss of power would lose what is behind."""

    def fail(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def salts() -> bytes:
        return Path(f"{db.path(host.db)}-wal").read_bytes()[16:24]  # sqlite.org/fileformat2.html#the_write_ahead_log

    host.db._log._sync, before = fail, salts()
    with db.reading(db.path(host.db)) as reader:
        assert rows(reader, "SELECT id FROM tasks") == []
        assert (await client.post(CREATE, json=TASK)).status_code == 503
        with pytest.raises(sqlite3.OperationalError):
            await host.db.waited(lambda: tasks.begin_run(host.db, "tsk_none", host.now()), seconds=0)
        assert len((await client.get("/tasks")).json()["data"]) == 1
    id = (await client.post(CREATE, json=TASK)).raise_for_status().json()["id"]
    assert salts() != before  # the log was begun anew
    store = db.path(host.db)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{store}{suffix}", disk.left / f"agentcontainer.db{suffix}")
    assert id in disk.ids()


async def test_each_transaction_has_the_care_that_was_asked_for(host: Host):
    def level() -> int:
        return db.single(host.db, "PRAGMA synchronous")["synchronous"]

    full, normal = 2, 1
    with host.db.atomic():
        assert level() == full
        with host.db.atomic(survives_power_loss=False):  # a part cannot have less than the whole
            assert level() == full
    with pytest.raises(RuntimeError), host.db.atomic(survives_power_loss=False):
        assert level() == normal
        raise RuntimeError
    assert level() == full

    def act() -> None:
        with host.db.atomic():
            assert level() == normal

    await host.db.waited(act)
    assert level() == full
    assert tasks.pending(host.db) == 0
