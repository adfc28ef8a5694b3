"""The containers.conf for our Podman.

The machine's own [engine] settings are kept (paths, runtimes, locks, helper programs). Its [containers] settings, which
apply to every container (environment, devices, volumes, capabilities), are not: only this program decides those.
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
# Not kept: settings that send commands to another Podman, and defaults that open a network.
DROPPED = ("remote", "active_service", "service_destinations", "network_cmd_options")

# The host's /etc/hosts names internal machines, and host.containers.internal is an address of the host.
CONTAINERS = {"base_hosts_file": "none", "host_containers_internal_ip": "none"}

GVISOR = "agentcontainer-gvisor"
# Rootless: no cgroups and no raw network. The door is a unix socket of the host. The platform is not KVM: a /dev/kvm
# that exists may not work, and ptrace works everywhere.
GVISOR_FLAGS = "--ignore-cgroups --network=none --platform=ptrace --host-uds=open"


def text(hooks_dir: Path, oci_runtime: str | None, more_runtimes: dict[str, str] | None = None) -> str:
    """The file's text. `more_runtimes`: programs that a container may select as runtime by these names."""
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
    """gVisor's entry for `more_runtimes`: a script, as containers.conf takes no flags. Empty without runsc."""
    if not (runsc := shutil.which("runsc")):
        return {}
    program = directory / "runsc"
    atomic_file.write(program, f'#!/bin/sh\nexec {runsc} {GVISOR_FLAGS} "$@"\n', 0o700)
    return {GVISOR: str(program)}


def cgroups_are_v2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def session_controllers() -> frozenset[str] | None:
    """The cgroup controllers that this account's systemd can give to a container. None if systemd does not manage them.

    `podman info` reports those of its own cgroup. In a unit in app.slice, `cpu` is not among them, although systemd
    enables it for a container's scope on request.
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
    """Chooses the overlay driver for an account without storage. Debian 12's Podman would choose vfs, which copies the
    whole image for each container and can only be changed by removing all images."""
    if storage_is_unmade() and overlay_works():
        file = _user_configuration() / "storage.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.write(file, '# Written by agentcontainer.\n[storage]\ndriver = "overlay"\n')


def storage_is_unmade() -> bool:
    """Whether this account has no images and no settings about where and how they are stored."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    said = (_user_configuration() / "storage.conf", Path("/etc/containers/storage.conf"), data / "containers/storage")
    given = os.environ.get("CONTAINERS_STORAGE_CONF") or os.environ.get("STORAGE_DRIVER")
    return not given and not any(path.exists() for path in said)


def overlay_works() -> bool:
    """Whether overlay works without root: in the kernel (5.13 or later) or with fuse-overlayfs."""
    kernel = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return kernel >= (5, 13) or shutil.which("fuse-overlayfs") is not None


def _user_configuration() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "containers")


def scope(unit: str) -> list[str]:
    """The command prefix that runs a command in a scope of the account's systemd, in user.slice like the containers."""
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--slice=user.slice", f"--unit={unit}", "--"]


def gives_scopes() -> bool:
    """Whether the account's systemd can start scopes. Blocks for a moment to try it."""
    if not _systemd_session() or not shutil.which("systemd-run"):
        return False
    trial = [*scope(f"agentcontainer-trial-{secrets.token_hex(4)}"), "true"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(trial, cwd="/", capture_output=True, timeout=10, check=False).returncode == 0
    return False


def _runtime_that_starts(engine: dict[str, Any]) -> str | None:
    """runc, if this machine needs it: crun does not support cgroup v1 and hybrid."""
    there = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return "runc" if there and not cgroups_are_v2() and "runtime" not in engine else None


def _systemd_session() -> bool:
    return cgroups_are_v2() and Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "systemd/private").exists()


def _own_engine() -> dict[str, Any]:
    """The [engine] settings as Podman reads them: system, user, and their .d; or CONTAINERS_CONF alone."""
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
    """The table in TOML. Strings, numbers, booleans and lists look as in JSON. Subtables come last."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    tables = [_toml(f"{name}.{key}", value) for key, value in table.items() if isinstance(value, dict)]
    return "\n".join([f"[{name}]", *plain, *tables, ""])
