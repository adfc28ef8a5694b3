"""Workspaces that are kept for a while, until their place on the disk is needed."""

from pathlib import Path

import pytest

from agentcontainer_local.process import disk_space
from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman


def volumes(server: Server, *tasks: dict) -> int:
    return sum(task["id"] in name for name in server.things() for task in tasks)


def test_kept_workspaces_go_when_the_disk_fills_and_work_goes_on(tmp_path: Path):
    """The disk is this machine's own, and is called full where it is."""
    free = min(map(disk_space.free_percent, (tmp_path, Path.home() / ".local/share/containers")))
    if free < 10:
        pytest.skip(f"only {free:.0f} % of the disk are free")
    with serving(tmp_path / "data", AGENTCONTAINER_WORKSPACE_RETENTION_SECONDS="3600") as server:
        kept = [server.run(bash("head -c 3M /dev/urandom > large")) for _ in range(2)]
        wait_until(lambda: server.get("/account")["checkpointStorage"]["usedBytes"] >= 6 * 1024**2, 20)
        wait_until(lambda: volumes(server, *kept) == len(server.things()) == 4, 20)  # the containers are gone
        server.stop()
        server.settings["AGENTCONTAINER_MIN_FREE_PERCENT"] = f"{free / 2 + 2:.2f}"
        server.start()
        wait_until(lambda: volumes(server, *kept) == 0, 20)
        assert server.get("/account")["checkpointStorage"]["usedBytes"] == 0
        after = server.run(bash("true"))
        assert after["status"] == "finished"
        wait_until(lambda: volumes(server, after) == 0, 20)
