"""What the doctor finds on a machine: this one, and ones that lack something."""

import os
import shutil
import stat

import httpx
import pytest

from agentcontainer_local import db, doctor
from agentcontainer_local.host import Host
from agentcontainer_local.schemas import Promise
from agentcontainer_local.settings import Settings
from tests.system.test_isolation import everything_but


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data=tmp_path / "data", cache=tmp_path / "cache")


def by_name(settings: Settings) -> dict:
    return {check.name: check for check in doctor.examine(settings)}


def test_this_machine_has_what_the_tests_need(settings):
    found = by_name(settings)
    assert [check for check in found.values() if check.status == "missing"] == []
    assert {"podman version", "subuid", "subgid", "cgroups", "storage", "gVisor", "disk for data"} <= set(found)
    assert all(check.detail for check in found.values())


@pytest.mark.parametrize(("program", "check", "status", "fix"), [
    ("newuidmap", "newuidmap", "missing", "install --no-install-recommends uidmap"),
    ("podman", "podman info", "missing", "install --no-install-recommends podman"),
    ("runsc", "gVisor", "warning", "sudo apt-get install runsc"),
])  # fmt: skip
def test_what_is_missing_comes_with_the_command_that_mends_it(
    settings, tmp_path, monkeypatch, program, check, status, fix
):
    monkeypatch.setenv("PATH", everything_but(program, tmp_path / "bin"))
    found = by_name(settings)[check]
    assert found.status == status
    assert fix in found.fix


def test_a_program_that_may_not_map_users_is_found_out(settings, tmp_path, monkeypatch):
    folder = everything_but("newgidmap", tmp_path / "bin")
    plain = shutil.copy(shutil.which("newgidmap"), folder)
    os.chmod(plain, stat.S_IRWXU)
    monkeypatch.setenv("PATH", folder)
    found = by_name(settings)["newgidmap"]
    assert (found.status, found.fix) == ("missing", f"sudo chmod u+s {plain}")


def test_a_runtime_directory_of_somebody_else_is_found_out(settings, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc")
    found = by_name(settings)["runtime directory"]
    assert found.status == "missing" and "loginctl enable-linger" in found.fix


async def test_the_account_answers_the_last_proofs_figures(host: Host, client: httpx.AsyncClient):
    assert (await client.get("/account")).json()["walls"] is None
    statuses = ("enforced", "enforced", "not_enforced", "unavailable")
    promises = [Promise(name=f"p{number}", status=status, detail="") for number, status in enumerate(statuses)]
    doctor.write_proof(host.settings, promises, host.now())
    walls = (await client.get("/account")).json()["walls"]
    assert walls == {"provedAt": db.iso(host.now()), "enforced": 2, "notEnforced": 1, "unavailable": 1}
    report = (await client.get("/doctor")).json()
    assert report["ready"] is True
    assert [promise["name"] for promise in report["proof"]["promises"]] == ["p0", "p1", "p2", "p3"]


async def test_a_proof_that_cannot_be_read_is_none(host: Host, client: httpx.AsyncClient):
    doctor.write_proof(host.settings, [], host.now())
    (host.settings.cache / "walls.json").write_text("{")
    assert (await client.get("/account")).json()["walls"] is None


async def test_the_doctor_needs_a_key_and_an_engine(host: Host, client: httpx.AsyncClient):
    assert (await client.get("/doctor", headers={"authorization": "Bearer wrong"})).status_code == 401
    assert (await client.post("/doctor")).status_code == 409
