"""`serve --backend simulated` as a process: without Podman, Node and Pi, and with everything else."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import Server
from tests.system.test_main_job import bash


@pytest.fixture
def server(tmp_path: Path):
    """No program can be found, and nothing was made before."""
    cache = tmp_path / "cache"
    settings = {"AGENTCONTAINER_BACKEND": "simulated", "AGENTCONTAINER_CACHE": str(cache), "PATH": str(tmp_path)}
    server = Server(tmp_path / "data", **settings)
    server.start()
    yield server
    if server.process.poll() is None:
        server.stop()
    assert not cache.exists()


def test_a_task_is_played_where_there_is_no_podman_no_node_and_no_pi(server: Server):
    file = server.upload("numbers.txt", b"1\n2\n")
    work = bash("cat task_files/numbers.txt > copy.txt", finish="--complete-task --message Copied copy.txt")
    task = server.run(work, files=[file])
    assert (task["status"], task["result"]) == ("finished", "Copied"), task["error"]
    assert server.outputs(task["id"]) == {"copy.txt": b"1\n2\n"}
    assert task["walls"]["limits"]["memoryMb"]["by"] == "nothing"
    assert server.client.get("/readyz").text == "ok\n"
    report = server.get("/doctor")
    assert report["ready"] and {check["name"] for check in report["checks"]} >= {"simulated backend", "data directory"}
    assert server.client.post("/api/v1/doctor").status_code == 409


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_task_at_work_goes_on_with_its_files_at_the_next_start(server: Server, number: int):
    task = server.dispatch(
        bash("echo one > log", "sleep 600", "echo two >> log", finish="--complete-task --message M log")
    )
    server.wait(task["id"], "running")
    while len([event for event in server.history(task["id"]) if event["event"] == "activity.started"]) < 2:
        pass
    server.stop(number)
    server.start()
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(task["id"]) == {"log": b"one\ntwo\n"}


def test_the_command_says_that_runs_are_simulated(tmp_path: Path):
    environ = {
        **os.environ,
        "AGENTCONTAINER_API_KEY": "ac_live_" + "x" * 32,
        "AGENTCONTAINER_CACHE": str(tmp_path / "c"),
    }
    command = [sys.executable, "-m", "agentcontainer_local", "serve", "--port", "0", "--backend", "simulated"]

    def first_lines(*options: str) -> str:
        words = [*command, "--data", str(tmp_path / "data"), *options]
        with subprocess.Popen(
            words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server:
            said = server.stdout.readline()
            server.terminate()
            return said + server.stdout.read()

    assert "Runs are simulated: no container and no Pi is started" in first_lines()
    assert json.loads(first_lines("--json"))["backend"] == "simulated"
