"""Podman, its storage or the runtime directory is away for a moment: tasks wait, nothing ends, everything goes on."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.podman.service import listener
from tests.system.conftest import Server, serving, wait_until
from tests.system.test_conversations import moves
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

HOLDER = """
import fcntl, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
with path.open("a+") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def session() -> Iterator[Path]:
    """A runtime directory of the test's own, with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ac-", dir="/tmp"))
    yield folder
    folder.chmod(0o700)
    subprocess.run(["podman", "unshare", "rm", "-rf", folder], cwd="/", check=True)


@pytest.fixture
def server(tmp_path: Path, session: Path) -> Iterator[Server]:
    with serving(tmp_path / "data", XDG_RUNTIME_DIR=str(session)) as running:
        yield running


def sockets(session: Path) -> Path:
    """The server's own folder."""
    [folder] = (path for path in (session / "agentcontainer").iterdir() if (path / "containers.conf").exists())
    return folder


def ready(server: Server) -> tuple[int, str]:
    answer = server.client.get("/readyz")
    return answer.status_code, answer.text


def logged(server: Server, words: str) -> int:
    return server.log.read_text().count(words)


def finished(server: Server, *tasks: dict, seconds: float = 120) -> None:
    for task in tasks:
        ended = server.wait(task["id"], seconds=seconds)
        assert (ended["status"], ended["error"]) == ("finished", None), server.log.read_text()[-3000:]


def test_tasks_that_start_while_podman_is_killed_again_and_again_all_finish(server: Server, session: Path):
    socket = sockets(session) / "podman.sock"
    tasks = [server.dispatch(bash("echo hello")) for _ in range(3)]
    for _ in range(8):
        if pid := listener(socket):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
    finished(server, *tasks)
    assert ready(server) == (200, "ok\n")
    assert "Traceback" not in server.log.read_text()


def test_a_podman_that_hangs_is_replaced_and_holds_nobody_up_for_long(server: Server, session: Path):
    running = server.dispatch(bash("sleep 3; echo done"))
    server.wait(running["id"], "running")
    os.kill(listener(sockets(session) / "podman.sock"), signal.SIGSTOP)
    began = time.monotonic()
    new = server.dispatch(bash("echo hello"))
    assert server.client.get("/healthz").status_code == 200
    finished(server, running, new)
    assert time.monotonic() - began < 60


def removed(folder: Path) -> None:
    """Removes a directory that the server may still write into meanwhile."""
    wait_until(lambda: shutil.rmtree(folder, ignore_errors=True) or not folder.exists(), 5)


@pytest.mark.parametrize("may_be_made", [True, False], ids=["made again", "kept away"])
def test_a_runtime_directory_that_is_removed_ends_nothing(server: Server, session: Path, may_be_made: bool):
    """As logind removes it at the account's last logout; only logind can make that one again."""
    working = server.dispatch(
        bash("echo one >> log; sleep 100", "cat log", finish="--complete-task --message Done log")
    )
    asleep = server.dispatch(bash("hibernate --for 1h", "echo awake"))
    server.wait(asleep["id"], "hibernating")
    wait_until(lambda: any(e["event"] == "activity.started" for e in server.history(working["id"])), 30)
    removed(session / "agentcontainer")
    if not may_be_made:
        session.chmod(0o500)
        wait_until(lambda: server.get(f"/tasks/{working['id']}")["status"] == "pending", 30)
        new = server.dispatch(bash("echo hello"))
        woken = server.post(f"/tasks/{asleep['id']}/wake", {"kind": "external_wake"}, 200)
        wait_until(lambda: ready(server)[0] == 503, 15)
        assert str(session) in ready(server)[1] and "loginctl enable-linger" in ready(server)[1]
        doctor = server.get("/doctor")
        assert (doctor["ready"], [c["status"] for c in doctor["checks"] if c["name"] == "containers"]) == (
            False,
            ["missing"],
        )
        time.sleep(5)  # it has been tried a few times by now
        assert {server.get(f"/tasks/{task['id']}")["status"] for task in (working, new, woken)} == {"pending"}
        session.chmod(0o700)
        tasks = working, new, woken
    else:
        tasks = working, server.dispatch(bash("echo hello"))
    finished(server, *tasks)
    assert b"".join(server.outputs(working["id"]).values()) == b"one\n"
    wait_until(lambda: ready(server)[0] == 200, 15)
    if may_be_made:
        assert server.get(f"/tasks/{asleep['id']}")["status"] == "hibernating"
        server.post(f"/tasks/{asleep['id']}/wake", {"kind": "external_wake"}, 200)
        finished(server, asleep)
    assert moves(server, working["id"])[:3] == ["pending", "running", "pending"]
    assert "Traceback" not in server.log.read_text()
    if not may_be_made:
        assert logged(server, "containers cannot run here at the moment") == 1
        assert logged(server, "containers can run here again") == 1


def test_a_server_starts_while_another_program_holds_podmans_storage_lock(tmp_path: Path, session: Path):
    """In a storage of the test's own, which has the account's images."""
    account = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share", "containers/storage")
    storage = tmp_path / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\nrootless_storage_path = "{tmp_path}/graph"\nrunroot = "{session}/run"\n'
        f'[storage.options]\nadditionalimagestores = ["{account}"]\n'
    )
    environ = {"XDG_RUNTIME_DIR": str(session), "CONTAINERS_STORAGE_CONF": str(storage)}
    lock = tmp_path / "graph/overlay-images/images.lock"
    server = Server(tmp_path / "data", **environ)
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            server.start()
            status, said = ready(server)
            assert status == 503 and f"process {holder.pid} (" in said and str(lock) in said
            task, cancelled = server.dispatch(bash("echo hello")), server.dispatch(bash("echo hello"))
            server.post(f"/tasks/{cancelled['id']}/cancel", expect=200)
            assert server.get(f"/tasks/{task['id']}")["status"] == "pending"
            looked = subprocess.run(
                [*server.command, "doctor", "--json"], env={**os.environ, **environ}, text=True, capture_output=True
            )
            assert looked.returncode == 1 and f"process {holder.pid} (" in looked.stdout
            holder.kill()
            finished(server, task)
            wait_until(lambda: ready(server) == (200, "ok\n"), 20)
            assert logged(server, "containers cannot run here at the moment") <= 1
        finally:
            holder.kill()
            server.stop()
            subprocess.run(
                ["podman", "unshare", "rm", "-rf", tmp_path / "graph"], env={**os.environ, **environ}, cwd="/"
            )
