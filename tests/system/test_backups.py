"""A backup of a server at work, brought back: tasks go on from it."""

import contextlib
import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local import backup
from agentcontainer_local.settings import Settings
from tests.system.conftest import ENDED, Server, podman_things, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman


def command(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "agentcontainer_local", *words]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, timeout=60)


def test_a_backup_under_load_brings_files_tasks_and_sessions_back(own_server: Server, tmp_path: Path):
    done = own_server.run(bash("echo result > r.txt", finish="--complete-task --message Done r.txt"))
    talk = own_server.converse(bash("echo remembered > word; echo noted"))
    own_server.answered(talk["id"], 1)
    asleep = own_server.dispatch(bash("echo before > log", "hibernate --for 1h", "cat log"))
    own_server.wait(asleep["id"], "hibernating")
    busy = [own_server.dispatch(bash(*["sleep 0.1"] * 20))]
    stop = threading.Event()
    writer = threading.Thread(target=_write_until, args=(own_server, stop))
    writer.start()
    made = command("backup", str(tmp_path / "b.tar.gz"), "--data", str(own_server.data))
    stop.set()
    writer.join()
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    for task in (talk, asleep, *busy):
        own_server.client.post(f"/api/v1/tasks/{task['id']}/cancel")  # a busy one may have finished meanwhile
    wait_until(lambda: not own_server.things(), 30)
    own_server.stop()
    shutil.rmtree(own_server.data)

    brought = command("restore", str(tmp_path / "b.tar.gz"), "--data", str(own_server.data))
    assert brought.returncode == 0, brought.stderr
    with contextlib.closing(sqlite3.connect(own_server.data / "agentcontainer.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    own_server.start()
    assert own_server.outputs(done["id"]) == {"r.txt": b"result\n"}
    own_server.say(talk["id"], bash("cat word"))
    assert own_server.answered(talk["id"], 2)["content"].strip() == "remembered"
    own_server.post(f"/tasks/{asleep['id']}/wake", {"kind": "external_wake"}, 200)
    assert own_server.wait(asleep["id"])["status"] == "finished"
    assert "before\n" in own_server.said(asleep["id"])
    for task in busy:
        assert own_server.wait(task["id"])["status"] == "finished"
    again = command("restore", str(tmp_path / "b.tar.gz"), "--data", str(own_server.data))
    assert again.returncode == 1 and "is not empty" in again.stderr


def test_a_task_that_ends_while_its_turn_comes_does_not_end_the_backup(own_server: Server, tmp_path: Path):
    asleep = [own_server.dispatch(bash("echo before > log", "hibernate --for 1h", "cat log")) for _ in range(2)]
    for task in asleep:
        own_server.wait(task["id"], "hibernating")
    told = []

    def progress(done: int, size: int) -> None:
        told.append((done, size))
        if len(told) == 2:  # the database is in it, and the first volume of the first task
            own_server.post(f"/tasks/{asleep[1]['id']}/cancel", expect=200)
            wait_until(lambda: not any(asleep[1]["id"] in name for name in own_server.things()), 30)

    held = backup.backup(Settings(data=own_server.data), tmp_path / "b.tar.gz", progress)
    assert (held.files, held.tasks) == (0, 1)
    own_server.post(f"/tasks/{asleep[0]['id']}/cancel", expect=200)
    wait_until(lambda: not own_server.things(), 30)
    brought = backup.restore(Settings(data=tmp_path / "brought"), tmp_path / "b.tar.gz", lambda done, size: None)
    assert (brought.files, brought.tasks) == (0, 1)
    volumes = things_of(tmp_path / "brought")
    assert len(volumes) == 2 and all(asleep[0]["id"] in name for name in volumes)
    subprocess.run(["podman", "volume", "rm", *volumes], check=True)


def things_of(data: Path) -> set[str]:
    return podman_things(f"agentcontainer.store={store_id(data)}")


def store_id(data: Path) -> str:
    with contextlib.closing(sqlite3.connect(data / "agentcontainer.db")) as store:
        return store.execute("SELECT id FROM store").fetchone()[0]


def restored(archive: Path, data: Path, *, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess:
    done = command("restore", str(archive), "--data", str(data), cwd=cwd)
    assert done.returncode == code, done.stderr
    return done


@contextlib.contextmanager
def beside(original: Server, data: Path) -> Iterator[Server]:
    """A server of a restored directory, which knows the original's key."""
    server = Server(data)
    server.key = original.key
    server.start()
    try:
        yield server
    finally:
        for task in server.get("/tasks")["data"]:
            if task["status"] not in ENDED:
                server.post(f"/tasks/{task['id']}/cancel", expect=200)
        wait_until(lambda: not server.things(), 30)
        server.stop()


def test_a_restored_store_beside_its_original_leaves_its_agents_and_workspaces_alone(own_server: Server, tmp_path):
    asleep = own_server.dispatch(bash("echo one >> log", "hibernate --for 1h", "cat log; ls -ln log"))
    own_server.wait(asleep["id"], "hibernating")
    assert command("backup", str(tmp_path / "b.tar.gz"), "--data", str(own_server.data)).returncode == 0
    busy = own_server.dispatch(bash("echo begun; sleep 12; echo undisturbed", finish="--complete-task --message Done"))
    wait_until(lambda: own_server.get(f"/tasks/{busy['id']}")["status"] == "running", 30)
    before = own_server.things()
    (tmp_path / "cwd").mkdir()
    restored(tmp_path / "b.tar.gz", Path("elsewhere"), cwd=tmp_path / "cwd")
    data = tmp_path / "cwd" / "elsewhere"
    assert store_id(data) != store_id(own_server.data)
    with beside(own_server, data) as copy:
        assert before <= own_server.things()
        copy.post(f"/tasks/{asleep['id']}/wake", {"kind": "external_wake"}, 200)
        assert copy.wait(asleep["id"])["status"] == "finished"
        assert "one\n" in copy.said(asleep["id"])
        uids = [
            server.row("SELECT uid FROM slots WHERE task_id = ?", asleep["id"])["uid"] for server in (own_server, copy)
        ]
        assert uids[0] is not None and uids[0] != uids[1]
    assert own_server.wait(busy["id"])["status"] == "finished"
    assert "undisturbed\n" in own_server.said(busy["id"])
    own_server.stop()
    own_server.start()
    own_server.post(f"/tasks/{asleep['id']}/wake", {"kind": "external_wake"}, 200)
    assert own_server.wait(asleep["id"])["status"] == "finished"
    assert "one\n" in own_server.said(asleep["id"])


def test_a_copy_of_a_data_directory_is_not_served_beside_its_original(own_server: Server, tmp_path: Path):
    asleep = own_server.dispatch(bash("echo one >> log", "hibernate --for 1h"))
    own_server.wait(asleep["id"], "hibernating")
    things = own_server.things()
    for while_it_serves in (True, False):
        if not while_it_serves:
            own_server.stop()
        copy = tmp_path / f"copy-{while_it_serves}"
        subprocess.run(["cp", "-a", own_server.data, copy], check=True)
        refused = command("serve", "--port", "0", "--data", str(copy))
        assert refused.returncode == 1 and str(own_server.data) in refused.stderr
        assert own_server.things() == things
    moved = own_server.data.rename(tmp_path / "moved")
    own_server.data = moved
    own_server.start()
    own_server.post(f"/tasks/{asleep['id']}/cancel", expect=200)


def test_while_a_restore_works_no_server_can_have_its_directory(own_server: Server, tmp_path: Path):
    own_server.upload("a.txt", b"a")
    archive, data = tmp_path / "b.tar.gz", tmp_path / "data2"
    assert command("backup", str(archive), "--data", str(own_server.data)).returncode == 0
    refused = []

    def progress(done: int, size: int) -> None:
        if not refused:
            refused.append(command("serve", "--port", "0", "--data", str(data)))

    assert backup.restore(Settings(data=data), archive, progress).files == 1
    assert refused[0].returncode == 1 and "Another agentcontainer" in refused[0].stderr
    assert not (data / "restoring").exists() and len(list((data / "files").iterdir())) == 1


def test_a_restore_that_fails_or_is_killed_leaves_nothing(own_server: Server, tmp_path: Path, monkeypatch):
    asleep = own_server.dispatch(bash("hibernate --for 1h"))
    own_server.wait(asleep["id"], "hibernating")
    archive, data = tmp_path / "b.tar.gz", tmp_path / "deep" / "data2"
    assert command("backup", str(archive), "--data", str(own_server.data)).returncode == 0
    label = f"agentcontainer.task={asleep['id']}"
    everything = podman_things(label)
    whole = archive.read_bytes()
    (cut := tmp_path / "cut.tar.gz").write_bytes(whole[:-200])
    refused = restored(cut, data, code=1)
    assert "Traceback" not in refused.stderr and not data.parent.exists()
    assert podman_things(label) == everything

    with monkeypatch.context() as dies:
        dies.setenv("AGENTCONTAINER_CRASH_AT", "restore.volume")
        restored(archive, data, code=86)
    assert len(podman_things(label) - everything) == 1
    refused = command("serve", "--port", "0", "--data", str(data))
    assert refused.returncode == 1 and "interrupted" in refused.stderr
    restored(archive, data)
    assert podman_things(label) - everything == things_of(data)
    subprocess.run(["podman", "volume", "rm", *things_of(data)], check=True)


def _parts(archive: Path) -> list[tuple[str, int, int]]:
    """Name, begin and size of each part's bytes."""
    with tarfile.open(archive) as opened:
        return [(part.name, part.offset_data, part.size) for part in opened]


def test_a_restore_that_ends_before_its_store_has_an_id_of_its_own_removes_no_volume_of_the_original(tmp_path: Path):
    server = Server(tmp_path / "data", AGENTCONTAINER_WORKSPACE_RETENTION_SECONDS="3600")
    server.start()
    volumes = server.things()
    try:
        server.run(bash("echo kept > kept", finish="--complete-task --message Done"))
        wait_until(lambda: all(thing.endswith(("-work", "-state")) for thing in server.things()), 15)
        volumes = things_of(server.data)
        assert len(volumes) == 2
        assert command("backup", str(tmp_path / "b.tar.gz"), "--data", str(server.data)).returncode == 0
        with tarfile.open(tmp_path / "b.tar.gz") as archive:
            (tmp_path / "agentcontainer.db").write_bytes(archive.extractfile("agentcontainer.db").read())
        with contextlib.closing(sqlite3.connect(tmp_path / "agentcontainer.db")) as newer:
            newer.execute("PRAGMA user_version=9999")
        with tarfile.open(tmp_path / "newer.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "agentcontainer.db", "agentcontainer.db")
        assert "version" in restored(tmp_path / "newer.tar.gz", tmp_path / "data2", code=1).stderr
        assert things_of(server.data) == volumes and not (tmp_path / "data2").exists()
    finally:
        server.stop()
        subprocess.run(["podman", "volume", "rm", "-f", *volumes], check=True)


def test_a_backup_that_is_damaged_anywhere_is_restored_nowhere(own_server: Server, tmp_path: Path):
    for name in ("a.bin", "b.bin", "c.bin"):
        own_server.upload(name, os.urandom(50_000))
    archive, data = tmp_path / "b.tar.gz", tmp_path / "data2"
    assert command("backup", str(archive), "--data", str(own_server.data)).returncode == 0
    whole = archive.read_bytes()
    tar = gzip.decompress(whole)
    begin = _parts(archive)[-1][1]
    damages = {
        "a byte of a file": whole[:-30_000] + bytes([whole[-30_000] ^ 1]) + whole[-29_999:],
        "a byte of a header": gzip.compress(tar[: begin - 512] + bytes([tar[begin - 512] ^ 1]) + tar[begin - 511 :]),
        "no end": gzip.compress(tar[: begin - 512]),
        "no checksum": whole[:-8],
        "another checksum": whole[:-8] + b"12345678",
    }
    for what, content in damages.items():
        (tmp_path / "damaged.tar.gz").write_bytes(content)
        refused = restored(tmp_path / "damaged.tar.gz", data, code=1)
        assert "damaged" in refused.stderr and "Traceback" not in refused.stderr, what
        assert not data.exists(), what


def _write_until(server: Server, stop: threading.Event) -> None:
    while not stop.is_set():
        server.upload("load.txt", os.urandom(1000))


def test_what_is_no_backup_is_refused_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "no.tar.gz").write_bytes(b"nothing of the kind")
    refused = command("restore", str(tmp_path / "no.tar.gz"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1 and "not a backup" in refused.stderr
    assert not (tmp_path / "data").exists()
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as odd:
        odd.addfile(tarfile.TarInfo("volumes/agentcontainer-tsk_a-work"))
    refused = command("restore", str(tmp_path / "odd.tar.gz"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1 and "Not a backup" in refused.stderr and "Traceback" not in refused.stderr
    absent = command("backup", str(tmp_path / "b.tar.gz"), "--data", str(tmp_path / "data"))
    assert absent.returncode == 1 and not (tmp_path / "b.tar.gz").exists()
