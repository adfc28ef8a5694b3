"""What the doctor finds on a machine: this one, and ones that lack something."""

import os
import shutil
import stat
import tomllib
from pathlib import Path

import httpx
import pytest

from agentcontainer_local import doctor
from agentcontainer_local.engine.host import Host
from agentcontainer_local.sandbox.podman import checks, containers_conf, network
from agentcontainer_local.schemas import WallCheck
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import db
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
    ("podman", "podman", "missing", "install --no-install-recommends podman"),
    ("runsc", "gVisor", "warning", "sudo apt-get install runsc"),
])  # fmt: skip
def test_what_is_missing_comes_with_the_command_that_mends_it(
    settings, tmp_path, monkeypatch, program, check, status, fix
):
    monkeypatch.setenv("PATH", everything_but(program, tmp_path / "bin"))
    found = by_name(settings)[check]
    assert found.status == status
    assert fix in found.fix


@pytest.mark.parametrize(("program", "package"), [("ip", "iproute2"), ("nsenter", "util-linux")])
def test_what_the_network_hook_needs_is_looked_for_where_the_hook_finds_it(settings, monkeypatch, program, package):
    assert by_name(settings)[program].status == "ok"
    monkeypatch.setattr(network, "HOOK_PATH", "/nowhere")
    found = by_name(settings)[program]
    assert (found.status, found.fix.split()[-1]) == ("warning", package)


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
    mended_by = "loginctl enable-linger" if Path("/run/systemd/system").is_dir() else "install -d"
    assert found.status == "missing" and mended_by in found.fix


def test_podman_is_not_asked_where_something_that_it_needs_is_missing(settings, monkeypatch):
    """It would leave half-made things behind, and its own words hide the first cause."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc")
    rows = list(by_name(settings).values())
    first = next(row for row in rows if row.status == "missing")
    asked = next(row for row in rows if row.name == "podman info")
    assert (first.name, asked.status) == ("runtime directory", "missing") and "storage" not in by_name(settings)


def test_the_doctor_leaves_an_account_without_storage_as_it_was(settings, tmp_path, monkeypatch):
    """Debian 12's Podman would choose its driver, vfs, by being asked; and a process would stay."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    found = by_name(settings)
    assert found["podman info"].status == "ok" and found["storage"].detail.startswith("overlay")
    assert list(home.rglob("*")) == []
    assert leftovers() == set()


def leftovers() -> set[str]:
    """Processes that hold a user namespace for Podmans whose runtime directory was the doctor's own."""
    environs = [path for path in Path("/proc").glob("[0-9]*/environ") if os.access(path, os.R_OK)]
    return {path.parent.name for path in environs if b"agentcontainer-doctor-" in path.read_bytes()}


def test_root_is_given_commands_that_act_on_the_account(settings):
    """Root's own `podman` and home are somebody else's; and root needs no sudo."""
    asked = [check.fix for check in doctor.examine(settings, root=True) if check.fix]
    assert asked and not [fix for fix in asked if "sudo" in fix]
    fixer = checks.Fixer(root=True)
    assert fixer.as_account("podman system migrate").startswith("runuser -u ")
    assert checks.Fixer(root=False).as_root("a && b") == "sudo a && sudo b"


def test_an_account_without_storage_gets_overlay_and_one_that_has_some_is_left_alone(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CONTAINERS_STORAGE_CONF", "STORAGE_DRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".config/containers/storage.conf"
    (tmp_path / ".local/share/containers/storage").mkdir(parents=True)
    containers_conf.choose_storage()
    assert not file.exists()
    (tmp_path / ".local/share/containers/storage").rmdir()
    containers_conf.choose_storage()
    assert tomllib.loads(file.read_text()) == {"storage": {"driver": "overlay"}}


async def test_the_account_answers_the_last_proofs_figures(host: Host, client: httpx.AsyncClient):
    assert (await client.get("/account")).json()["walls"] is None
    statuses = ("enforced", "enforced", "not_enforced", "unavailable")
    promises = [WallCheck(name=f"p{number}", status=status, detail="") for number, status in enumerate(statuses)]
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
