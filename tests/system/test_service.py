"""`agentcontainer install-service` under a real systemd: the unit as it is shown, under a name of its own."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.sandbox.podman import containers_conf
from agentcontainer_local.store import lock
from tests.system.conftest import ENDED, Server, podman, wait_until
from tests.system.test_main_job import bash


def systemctl(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True)


pytestmark = [
    pytest.mark.podman,
    pytest.mark.skipif(
        not Path("/run/systemd/system").is_dir() or systemctl("show-environment").returncode != 0,
        reason="this account has no systemd of its own here",
    ),
]


class Unit(Server):
    """A server that this account's systemd starts and stops."""

    def __init__(self, data: Path):
        super().__init__(data)
        self.name = f"agentcontainer-test-{secrets.token_hex(4)}.service"
        self.file = Path(os.environ["XDG_RUNTIME_DIR"], "systemd/user", self.name)
        secret = data.parent / "environment"
        secret.write_text(f"AGENTCONTAINER_API_KEY={self.key}\n")
        command = [sys.executable, "-m", "agentcontainer_local", "install-service", "--show"]
        options = ["--flags", f"--port 0 --data {data}", "--environment-file", str(secret)]
        shown = subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(shown)
        assert systemctl("daemon-reload").returncode == 0

    def start(self) -> None:
        started = systemctl("start", self.name)
        assert started.returncode == 0, (started.stderr, systemctl("status", self.name).stdout)
        self.url = lock.holder(self.data).url
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60, trust_env=False
        )

    def stop(self) -> None:
        self.client.close()
        assert systemctl("stop", self.name).returncode == 0

    def status(self, name: str) -> str:
        """A line of /proc/PID/status of the server."""
        pid = systemctl("show", "--property=MainPID", "--value", self.name).stdout.strip()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@pytest.fixture
def unit(tmp_path) -> Iterator[Unit]:
    running = Unit(tmp_path / "data")
    try:
        running.start()
        yield running
        for task in running.get("/tasks", limit=1000)["data"]:
            if task["status"] not in ENDED:
                running.post(f"/tasks/{task['id']}/cancel", expect=200)
        wait_until(lambda: not running.things(), 30)
        running.stop()
    finally:
        systemctl("stop", running.name)
        running.file.unlink()
        systemctl("daemon-reload")
        with contextlib.suppress(OSError):
            running.file.parent.rmdir()


def test_a_units_agent_outlives_its_stop_and_is_found_again_by_its_start(unit: Unit):
    assert unit.status("NoNewPrivs") == "0"  # else newuidmap does not work, nor the first Podman after a boot
    task = unit.dispatch(bash("echo one >> log; sleep 8; echo two >> log", finish="--complete-task --message Done log"))
    wait_until(lambda: [e for e in unit.history(task["id"]) if e["event"] == "activity.started"], 60)
    unit.stop()
    assert podman("ps", "--filter", f"name={task['id']}", "--format", "{{.Names}}").strip()
    unit.start()
    ended = unit.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert unit.outputs(task["id"]) == {"log": b"one\ntwo\n"}
    moves = [e["data"]["status"] for e in unit.history(task["id"]) if e["event"] == "task.updated"]
    assert moves == ["pending", "running", "finished"]
    if containers_conf.cgroups_are_v2():
        limits = ended["walls"]["limits"]
        assert {limits[name]["by"] for name in ("memoryMb", "processes")} == {"cgroup"}
