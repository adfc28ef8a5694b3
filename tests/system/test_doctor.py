"""`agentcontainer doctor --prove`, and the same over the API: every promise is tried in real containers."""

import json
import os
import subprocess
import sys

from tests.system.conftest import Server, podman_things

# What must hold on any machine on which the tests run; limits hold by whatever there is.
PROMISES = {
    "a user of its own on the host", "no network device", "no capabilities", "no new privileges",
    "system calls are filtered", "no namespaces, mounts or devices of its own", "read-only runtime",
    "kernel settings are closed", "no disks of the host", "no sockets but the door", "no processes of others",
    "no files of the host", "no secrets", "no way to the host", "no metadata address", "limit of memory",
    "limit of processes", "limit of disk", "limit of open files",
}  # fmt: skip


def test_every_promise_holds_on_this_machine(tmp_path):
    environ = {**os.environ, "AGENTCONTAINER_DATA": str(tmp_path)}
    command = [sys.executable, "-m", "agentcontainer_local", "doctor", "--prove", "--json"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    report = json.loads(ended.stdout)
    held = {promise["name"]: promise for promise in report["proof"]["promises"]}
    assert {name: one["detail"] for name, one in held.items() if one["status"] == "not_enforced"} == {}
    assert {name for name, one in held.items() if one["status"] == "enforced"} >= PROMISES
    assert (ended.returncode, report["ready"]) == (0, True), ended.stderr
    assert not [name for name in podman_things() if "proof" in name]


def test_the_api_proves_the_walls_beside_running_tasks(server: Server):
    report = server.post("/doctor", expect=200)
    statuses = [promise["status"] for promise in report["proof"]["promises"]]
    assert "not_enforced" not in statuses, report["proof"]
    walls = server.get("/account")["walls"]
    assert (walls["enforced"], walls["notEnforced"]) == (statuses.count("enforced"), 0)
    assert server.get("/doctor")["proof"] == report["proof"]
