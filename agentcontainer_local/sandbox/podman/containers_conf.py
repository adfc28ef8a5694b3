"""The containers.conf that our Podman runs with.

What the machine's own files say of the engine is kept (paths, runtimes, locks, helper programs). What they would put
into every container ([containers]: environment, devices, volumes, capabilities) is not: that is for us alone to say.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from agentcontainer_local.process import atomic_file

SYSTEM = (Path("/usr/share/containers/containers.conf"), Path("/etc/containers/containers.conf"))
# Not taken over: where a podman command would go instead of here, and defaults that open a network.
DROPPED = ("remote", "active_service", "service_destinations", "network_cmd_options")

# The host's /etc/hosts names internal machines, and host.containers.internal is an address of the host.
CONTAINERS = {"base_hosts_file": "none", "host_containers_internal_ip": "none"}

GVISOR = "agentcontainer-gvisor"
# Rootless: no cgroups of its own, and no raw network. The door is a unix socket of the host's. KVM is not asked for:
# a /dev/kvm that is there need not work, and ptrace works everywhere.
GVISOR_FLAGS = "--ignore-cgroups --network=none --platform=ptrace --host-uds=open"


def text(hooks_dir: Path, oci_runtime: str | None, more_runtimes: dict[str, str] | None = None) -> str:
    """`more_runtimes`: programs that a container may ask for by these names."""
    engine = {name: value for name, value in _own_engine().items() if name not in DROPPED}
    engine |= {"events_logger": "file", "hooks_dir": [str(hooks_dir)]}
    engine.setdefault("cgroup_manager", "systemd" if _systemd_session() else "cgroupfs")
    if runtime := oci_runtime or _runtime_that_starts(engine):
        engine["runtime"] = runtime
    if more_runtimes:
        ours = {name: [program] for name, program in more_runtimes.items()}
        engine["runtimes"] = {**engine.get("runtimes", {}), **ours}
    return _toml("containers", CONTAINERS) + _toml("engine", engine)


def gvisor_runtime(directory: Path) -> dict[str, str]:
    """The runtime under its name for containers.conf, which takes a program but no flags; none without runsc."""
    if not (runsc := shutil.which("runsc")):
        return {}
    program = directory / "runsc"
    atomic_file.write(program, f'#!/bin/sh\nexec {runsc} {GVISOR_FLAGS} "$@"\n', 0o700)
    return {GVISOR: str(program)}


def cgroups_are_v2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def session_controllers() -> frozenset[str] | None:
    """The cgroup controllers that this account's systemd may give to a container; None where it is not asked for any.

    `podman info` tells those of its own cgroup: in a unit of the account's, in app.slice, `cpu` is not among them,
    though systemd turns it on for a container's scope that asks for it.
    """
    if not _systemd_session():
        return None
    uid = os.getuid()
    held = Path(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers")
    try:
        return frozenset(held.read_text().split())
    except OSError:
        return None


def choose_storage() -> None:
    """The overlay driver for an account that has no storage yet. Debian 12's Podman would choose vfs, which copies a
    whole image for each container, and which nothing but the loss of all images changes."""
    if storage_is_unmade() and overlay_works():
        file = _user_configuration() / "storage.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.write(file, '# Written by agentcontainer.\n[storage]\ndriver = "overlay"\n')


def storage_is_unmade() -> bool:
    """Whether this account has neither images nor a word on where and how they are kept."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    said = (_user_configuration() / "storage.conf", Path("/etc/containers/storage.conf"), data / "containers/storage")
    given = os.environ.get("CONTAINERS_STORAGE_CONF") or os.environ.get("STORAGE_DRIVER")
    return not given and not any(path.exists() for path in said)


def overlay_works() -> bool:
    """Without root, by the kernel's own (5.13 or later) or by fuse-overlayfs."""
    kernel = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return kernel >= (5, 13) or shutil.which("fuse-overlayfs") is not None


def _user_configuration() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers")


def scope(unit: str) -> list[str]:
    """The words before a command that run it in a scope of the account's systemd, in user.slice like the containers."""
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--slice=user.slice", f"--unit={unit}", "--"]


def gives_scopes() -> bool:
    """Whether the account has a systemd of its own that starts scopes; blocks for a moment where it has."""
    if not _systemd_session() or not shutil.which("systemd-run"):
        return False
    trial = [*scope(f"agentcontainer-trial-{secrets.token_hex(4)}"), "true"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(trial, cwd="/", capture_output=True, timeout=10, check=False).returncode == 0
    return False


def _runtime_that_starts(engine: dict[str, Any]) -> str | None:
    """On cgroup v1 and hybrid machines crun says "cgroups in hybrid mode not supported"; runc starts."""
    there = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return "runc" if there and not cgroups_are_v2() and "runtime" not in engine else None


def _systemd_session() -> bool:
    return cgroups_are_v2() and Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "systemd/private").exists()


def _own_engine() -> dict[str, Any]:
    """[engine] as Podman would read it: system, then user, each with its .d; or CONTAINERS_CONF alone."""
    if named := os.environ.get("CONTAINERS_CONF"):
        files = [Path(named)]
    else:
        user = _user_configuration() / "containers.conf"
        files = [part for file in (*SYSTEM, user) for part in (file, *sorted(Path(f"{file}.d").glob("*.conf")))]
    engine: dict[str, Any] = {}
    for file in files:
        if file.is_file():
            engine |= tomllib.loads(file.read_text()).get("engine", {})
    return engine


def _toml(name: str, table: dict[str, Any]) -> str:
    """Strings, numbers, booleans and lists look in TOML as in JSON; tables (engine.runtimes) come after."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    tables = [_toml(f"{name}.{key}", value) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join([f"[{name}]", *plain, *tables, ""])
