"""A backup of a server at work, brought back: tasks go on from it."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

from agentcontainer_local import backup
from agentcontainer_local.settings import Settings
from tests.system.conftest import Server, wait_until
from tests.system.test_main_job import bash


def command(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "agentcontainer_local", *words], capture_output=True, text=True)


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
        own_server.post(f"/tasks/{task['id']}/cancel", expect=200)
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
        if len(told) == 2:          # the database is in it, and the first volume of the first task
            own_server.post(f"/tasks/{asleep[1]['id']}/cancel", expect=200)
            wait_until(lambda: not any(asleep[1]["id"] in name for name in own_server.things()), 30)

    held = backup.backup(Settings(data=own_server.data), tmp_path / "b.tar.gz", progress)
    assert (held.files, held.tasks) == (0, 1)
    own_server.post(f"/tasks/{asleep[0]['id']}/cancel", expect=200)
    wait_until(lambda: not own_server.things(), 30)
    brought = backup.restore(tmp_path / "b.tar.gz", tmp_path / "brought", lambda done, size: None)
    assert (brought.files, brought.tasks) == (0, 1)
    volumes = own_server.things()
    assert len(volumes) == 2 and all(asleep[0]["id"] in name for name in volumes)
    subprocess.run(["podman", "volume", "rm", *volumes], check=True)


def _write_until(server: Server, stop: threading.Event) -> None:
    while not stop.is_set():
        server.upload("load.txt", os.urandom(1000))


def test_what_is_no_backup_is_refused_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "no.tar.gz").write_bytes(b"nothing of the kind")
    refused = command("restore", str(tmp_path / "no.tar.gz"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1 and "no backup" in refused.stderr
    assert list((tmp_path / "data").iterdir()) == []
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as odd:
        odd.addfile(tarfile.TarInfo("volumes/agentcontainer-tsk_a-work"))
    refused = command("restore", str(tmp_path / "odd.tar.gz"), "--data", str(tmp_path / "data"))
    assert refused.returncode == 1 and "is no backup" in refused.stderr and "Traceback" not in refused.stderr
    absent = command("backup", str(tmp_path / "b.tar.gz"), "--data", str(tmp_path / "data"))
    assert absent.returncode == 1 and not (tmp_path / "b.tar.gz").exists()
