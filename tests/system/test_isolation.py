"""The isolation dial: gVisor where it is installed, a refusal where it is not, never something weaker."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import Server, serving, wait_until
from tests.system.test_limits import HOG
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

RUNSC = pytest.mark.skipif(not shutil.which("runsc"), reason="gVisor's runsc is not installed on this machine")


@RUNSC
def test_an_agent_does_its_whole_job_on_gvisors_kernel(server: Server):
    numbers = server.upload("numbers.csv", b"1\n2\n3\n")
    task = server.run(
        bash(
            "uname -sr; awk '{s+=$1} END {print s}' task_files/numbers.csv > sum.txt; ls /sys/class/net",
            finish="--complete-task --message Done sum.txt",
        ),
        files=[numbers],
        isolation="gvisor",
    )
    assert task["status"] == "finished", task["error"]
    assert f"Linux {os.uname().release}" not in server.said(task["id"])
    assert "Linux 4.4.0" in server.said(task["id"])
    assert server.outputs(task["id"]) == {"sum.txt": b"6\n"}
    assert task["walls"]["isolation"] == "gvisor"
    by = {name: limit["by"] for name, limit in task["walls"]["limits"].items()}
    assert (by["memoryMb"], by["processes"], by["workspaceMb"]) == ("watchdog", "watchdog", "watchdog")


@RUNSC
@pytest.mark.parametrize(("command", "limits", "says"), [
    (HOG, {"memoryMb": 700}, "of memory; its limit is 700"),
    ("head -c 400000000 /dev/zero > big; sleep 100", {"workspaceMb": 200}, "to disk; its limit is 200"),
], ids=["memory", "disk"])  # fmt: skip
def test_limits_hold_on_gvisor_too(server: Server, command, limits, says):
    task = server.run(bash(command), isolation="gvisor", limits=limits)
    assert task["status"] == "failed"
    assert says in task["error"]


@RUNSC
def test_a_server_that_was_killed_finds_its_agents_on_gvisor_again(own_server: Server):
    commands = "echo one >> log", "sleep 3; echo two >> log"
    task = own_server.dispatch(bash(*commands, finish="--complete-task --message Done log"), isolation="gvisor")
    wait_until(lambda: len([e for e in own_server.history(task["id"]) if e["event"] == "activity.started"]) > 1, 30)
    own_server.stop(signal.SIGKILL)
    own_server.start()
    assert own_server.wait(task["id"])["status"] == "finished"
    assert own_server.outputs(task["id"]) == {"log": b"one\ntwo\n"}


def test_gvisor_with_internet_is_refused_rather_than_weakened(server: Server):
    answer = refused(server, isolation="gvisor", internetAccess=True)
    assert "apt-get install runsc" in answer if not shutil.which("runsc") else "not possible with" in answer


def test_a_server_without_gvisor_refuses_what_asks_for_it(tmp_path):
    path = everything_but("runsc", tmp_path / "bin")
    with serving(tmp_path / "data", PATH=path) as server:
        assert "apt-get install runsc" in refused(server, isolation="gvisor")
        agent = server.post(
            "/agents",
            {
                "name": "careful",
                "basePrompt": "Work.",
                "defaults": {
                    "model": "scripted",
                    "internetAccess": False,
                    "maxRuntimeSeconds": 60,
                    "isolation": "gvisor",
                },
            },
        )
        assert agent["currentVersion"]["defaults"]["isolation"] == "gvisor"
        assert "apt-get install runsc" in refused(server, agent["id"], isolation="container")


def test_a_server_that_must_have_gvisor_does_not_start_without_it(tmp_path):
    path = everything_but("runsc", tmp_path / "bin")
    command = [sys.executable, "-m", "agentcontainer_local", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    environ = {**os.environ, "PATH": path, "AGENTCONTAINER_ISOLATION": "gvisor"}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "apt-get install runsc" in ended.stderr


def refused(server: Server, agent: str = "agt_standard_coding", **overrides) -> str:
    body = {"instructions": "Work.", "overrides": {"model": "scripted", **overrides}}
    error = server.post(f"/agents/{agent}/tasks", body, expect=422)["error"]
    assert error["code"] == "unsupported"
    assert server.get("/tasks", status="pending")["data"] == []
    return error["message"]


def everything_but(program: str, folder: Path) -> str:
    """A PATH with all that this one has, apart from one program."""
    folder.mkdir()
    for directory in map(Path, os.environ["PATH"].split(":")):
        for found in directory.iterdir() if os.access(directory, os.R_OK) else ():
            if found.name != program and not (folder / found.name).is_symlink():
                (folder / found.name).symlink_to(found)
    return str(folder)
