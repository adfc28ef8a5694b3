"""Hostile agents: each that takes too much ends its own task, with an error that says what to raise."""

import resource
from pathlib import Path

import pytest

from tests.system.conftest import Server, serving
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

HOG = "python3 -c 'x = []\nwhile True: x.append(bytes([1]) * 20_000_000)'"
HIDDEN_HOG = (
    'python3 -c \'import os, time\nfd = os.memfd_create("x")\nfor _ in range(60): os.write(fd, bytes(10_000_000))\n'
    "time.sleep(60)'"
)
# Each is smaller than Pi, which the kernel then ends in their place.
HERD = (
    "python3 -c 'import os, time\nfor _ in range(60): os.fork() or (bytes([1]) * 9_000_000, time.sleep(60))\n"
    "time.sleep(60)'"
)
BOMB = "bomb() { bomb | bomb & }; bomb; sleep 60"
FILLER = "i=0; while true; do i=$((i+1)); head -c 20000000 /dev/zero > f$i; done"


@pytest.mark.parametrize(("command", "limits", "says"), [
    (HOG, {"memoryMb": 512}, ("memory; its limit is 512 MB", "limits.memoryMb", "AGENTCONTAINER_TASK_MEMORY_MB")),
    (HIDDEN_HOG, {"memoryMb": 512}, ("memory; its limit is 512 MB", "limits.memoryMb")),
    (HERD, {"memoryMb": 512}, ("memory; its limit is 512 MB", "limits.memoryMb")),
    (BOMB, {"processes": 120}, ("processes and threads; its limit is 120", "limits.processes")),
    (FILLER, {"workspaceMb": 300}, ("MB to disk; its limit is 300 MB", "limits.workspaceMb")),
], ids=["memory hog", "hog in memory files", "herd of small ones", "fork bomb", "disk filler"])  # fmt: skip
def test_who_takes_too_much_ends_its_own_task_and_another_goes_on(server: Server, command, limits, says):
    bystander = server.dispatch(bash("sleep 1; echo still here > out", finish="--complete-task --message Done out"))
    hostile = server.run(bash(command), limits=limits)
    assert hostile["status"] == "failed"
    assert all(words in hostile["error"] for words in says), hostile["error"]
    ended = server.wait(bystander["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(bystander["id"]) == {"out": b"still here\n"}


def test_a_task_says_what_it_is_kept_to_and_by_what(server: Server):
    task = server.run(bash("ulimit -n; nproc"), limits={"memoryMb": 1000, "openFiles": 300, "cpus": 1})
    limits = task["walls"]["limits"]
    assert task["status"] == "finished", task["error"]
    assert (task["walls"]["isolation"], task["walls"]["network"]) == ("container", "none")
    assert limits["memoryMb"]["value"] == 1000 and limits["memoryMb"]["by"] in ("cgroup", "watchdog")
    assert limits["openFiles"] == {"value": 300, "by": "ulimit"}
    assert limits["workspaceMb"] == {"value": 10240, "by": "watchdog"}
    assert limits["cpus"]["by"] in ("cgroup", "affinity")
    assert "300" in server.said(task["id"])
    assert task["overrides"]["limits"] == {"memoryMb": 1000, "openFiles": 300, "cpus": 1}


def test_an_agents_limits_hold_for_its_tasks_one_by_one(server: Server):
    agent = server.post(
        "/agents",
        {
            "name": "small",
            "basePrompt": "Work.",
            "defaults": {
                "model": "scripted",
                "internetAccess": False,
                "maxRuntimeSeconds": 60,
                "limits": {"memoryMb": 600, "processes": 200},
            },
        },
    )
    defaults = {"limits": {"processes": 300}}
    patched = server.client.patch(f"/api/v1/agents/{agent['id']}", json={"defaults": defaults}).json()
    assert patched["currentVersion"]["defaults"]["limits"] == {"memoryMb": 600, "processes": 300}
    task = server.run(bash("true"), agent=agent["id"], limits={"openFiles": 256})
    values = {name: limit["value"] for name, limit in task["walls"]["limits"].items()}
    assert values == {"memoryMb": 600, "cpus": None, "processes": 300, "openFiles": 256, "workspaceMb": 10240}


def test_the_server_may_have_as_many_files_open_as_its_account_may(tmp_path: Path):
    """Each run may take more than a hundred, and a shell's soft limit is 1024 as a rule."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        with serving(tmp_path / "data") as server:
            limits = Path(f"/proc/{server.process.pid}/limits").read_text().splitlines()
            [files] = [line.split()[3:5] for line in limits if line.startswith("Max open files")]
            assert files[0] == files[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
