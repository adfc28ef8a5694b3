"""`agentcontainer doctor --prove`, and the same over the API: every promise is tried in real containers."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from agentcontainer_local.process.file_lock import alone
from agentcontainer_local.sandbox.podman.proof import NAME
from tests.system.conftest import Server, podman, podman_things, standard_image

pytestmark = pytest.mark.podman

STORE = "agentcontainer.store=doctor"

# What must hold on any machine on which the tests run; limits hold by whatever there is.
PROMISES = {
    "a user of its own on the host", "no network device", "no capabilities", "no new privileges",
    "system calls are filtered", "no namespaces, mounts or devices of its own", "read-only runtime",
    "kernel settings are closed", "no disks of the host", "no sockets but the door", "no processes of others",
    "no files of the host", "no secrets", "no way to the host", "no metadata address", "limit of memory",
    "limit of processors", "limit of processes", "limit of disk", "limit of open files",
}  # fmt: skip


def doctor(data: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "agentcontainer_local", "doctor", "--prove", "--json"]
    environ = {**os.environ, "AGENTCONTAINER_DATA": str(data)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_every_promise_holds_on_this_machine_whoever_tries_at_the_same_time(server: Server, tmp_path: Path):
    server.run("Nothing.")  # from here on there is an image
    image = standard_image()
    # As one that was killed leaves it.
    podman("create", "--label", STORE, "--name", f"{NAME}{secrets.token_hex(4)}", image, "true")
    doctors = [doctor(tmp_path / name) for name in ("one", "other")]
    reports = []
    for one in doctors:
        said, steps = one.communicate(timeout=240)
        report = json.loads(said)
        held = {promise["name"]: promise for promise in report["proof"]["promises"]}
        assert {name: one["detail"] for name, one in held.items() if one["status"] == "not_enforced"} == {}
        assert {name for name, one in held.items() if one["status"] == "enforced"} >= PROMISES
        assert (one.returncode, report["ready"]) == (0, True), steps
        reports.append(steps)
    assert any("Waiting for another proof to end" in steps for steps in reports)
    async with alone("proof"):
        assert podman_things(STORE) == set()


def test_the_api_proves_the_walls_beside_running_tasks(server: Server):
    report = server.post("/doctor", expect=200)
    statuses = [promise["status"] for promise in report["proof"]["promises"]]
    assert "not_enforced" not in statuses, report["proof"]
    walls = server.get("/account")["walls"]
    assert (walls["enforced"], walls["notEnforced"]) == (statuses.count("enforced"), 0)
    assert server.get("/doctor")["proof"] == report["proof"]
