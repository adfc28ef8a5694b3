"""Checks of what rootless Podman needs of a machine, fastest first, each with the command that fixes it."""

import contextlib
import json
import os
import platform
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agentcontainer_local import resource_limits
from agentcontainer_local.sandbox.checks import disk, missing, ok, warning
from agentcontainer_local.sandbox.podman import containers_conf, locks, network, standard_images
from agentcontainer_local.sandbox.podman.containers import STORE
from agentcontainer_local.schemas import Check
from agentcontainer_local.store import identity
from agentcontainer_local.store.identity import Presence

PODMAN_SECONDS = 20
MIN_SUBIDS = 65_536  # the largest uid of an agent in its container is 59999
MIN_PODMAN_VERSION = (4, 3)
ELSEWHERE = ":/usr/sbin:/usr/libexec/podman:/usr/lib/podman"  # searched in addition to PATH
STORAGE_CONF = "~/.config/containers/storage.conf"


class Fixer:
    """Who will run the commands that fix something: the account itself, or root for the account."""

    def __init__(self, root: bool):
        self.root = root

    def as_root(self, command: str) -> str:
        return command if self.root else " && ".join(f"sudo {part}" for part in command.split(" && "))

    def as_account(self, command: str) -> str:
        """Runs the command in the account's home with its runtime directory, because `runuser` alone keeps root's."""
        if not self.root:
            return command
        home, directory = os.environ.get("HOME", "/"), os.environ.get("XDG_RUNTIME_DIR", "")
        return (
            f"runuser -u {_me()} -- env -C {home} HOME={home} XDG_RUNTIME_DIR={directory} sh -c {shlex.quote(command)}"
        )

    def install(self, *packages: str) -> str:
        return self.as_root(f"apt-get install --no-install-recommends {' '.join(packages)}")


def examine(root: bool = False) -> list[Check]:
    """Checks without changing anything. Takes about a quarter of a second, most of it for `podman info`.

    `root`: root started the check, and it now runs as the account. `podman info` comes last, and is skipped if
    something that it needs is missing: its message would say less, and it would leave incomplete storage behind.
    """
    fixer = Fixer(root)
    found = [check for look in (_account, _programs, _namespaces, _network, _cgroups) for check in look(fixer)]
    info = None
    if any(check.status == "missing" for check in found):
        found.append(missing("podman info", "was not checked: first fix the missing rows above", None))
    else:
        said, info = _podman_info(fixer)
        found.append(said)
    if info is not None:
        found += [
            *_podman(info, fixer),
            *_images(info),
            disk("storage", Path(info["store"]["graphRoot"])),
            _leftovers(),
        ]
    return [*found, _gvisor(fixer)]


def _me() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _account(fixer: Fixer) -> Iterator[Check]:
    if os.getuid() == 0:
        yield warning("account", "root; the server switches to an account without root's rights", None)
    else:
        yield ok("account", f"{_me()}, uid {os.getuid()}")
    for kind, option in (("subuid", "--add-subuids"), ("subgid", "--add-subgids")):
        many = _sub_ids(Path("/etc", kind))
        fix = fixer.as_root(f"usermod {option} 100000-165535 {_me()}")
        good = many >= MIN_SUBIDS
        yield ok(kind, f"{many} ids") if good else missing(kind, f"{many} ids of {MIN_SUBIDS} for {_me()}", fix)
    directory = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    with contextlib.suppress(OSError):
        if directory.stat().st_uid == os.getuid():
            yield ok("runtime directory", str(directory))
            return
    fix = fixer.as_root(
        f"loginctl enable-linger {_me()}" if _systemd_runs() else f"install -d -m 0700 -o {_me()} {directory}"
    )
    yield missing("runtime directory", f"{directory} is missing or belongs to another account", fix)


def _sub_ids(file: Path) -> int:
    """The number of subordinate ids. `getsubids` also knows those from other sources (`subid:` in nsswitch.conf)."""
    options = ["-g"] if file.name == "subgid" else []
    said = _run("getsubids", *options, _me())
    if said is not None:
        return sum(int(words[-1]) for line in said.splitlines() if (words := line.split()) and words[-1].isdigit())
    with contextlib.suppress(OSError):
        rows = [line.strip().split(":") for line in file.read_text().splitlines()]
        return sum(int(row[2]) for row in rows if len(row) == 3 and row[0] in (_me(), str(os.getuid())))
    return 0


def _programs(fixer: Fixer) -> Iterator[Check]:
    for program, package in (
        ("podman", "podman"),
        ("conmon", "conmon"),
        ("catatonit", "catatonit"),
        ("newuidmap", "uidmap"),
        ("newgidmap", "uidmap"),
    ):
        found = _anywhere(program)
        if not found:
            yield missing(program, "is not installed", fixer.install(package))
        elif program.startswith("new") and not _may_map(found):
            fix = fixer.as_root(f"chmod u+s {found}")
            yield missing(program, f"{found} is neither setuid nor has file capabilities", fix)
        else:
            yield ok(program, found)
    here = containers_conf.cgroups_are_v2()
    runtime = next((name for name in ("crun", "runc") if shutil.which(name) and (here or name == "runc")), None)
    if runtime:
        yield ok("OCI runtime", runtime)
    else:
        why = "" if here else ": crun does not start where cgroups are v1 or hybrid"
        yield missing("OCI runtime", f"neither crun nor runc fits{why}", fixer.install("crun" if here else "runc"))


def _may_map(program: str) -> bool:
    if os.stat(program).st_mode & stat.S_ISUID:
        return True
    with contextlib.suppress(OSError):
        return bool(os.getxattr(program, "security.capability"))
    return False


def _anywhere(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{ELSEWHERE}")


def _namespaces(fixer: Fixer) -> Iterator[Check]:
    wanted: dict[str, tuple[Callable[[str], bool], str]] = {
        "/proc/sys/user/max_user_namespaces": (
            lambda value: int(value) > 0, "sysctl user.max_user_namespaces=15000"),
        "/proc/sys/kernel/unprivileged_userns_clone": (
            lambda value: value == "1", "sysctl kernel.unprivileged_userns_clone=1"),
    }  # fmt: skip
    broken = [fix for path, (good, fix) in wanted.items() if (value := _text(path)) is not None and not good(value)]
    if broken:
        yield missing("user namespaces", "are closed to ordinary accounts", fixer.as_root(broken[0]))
    else:
        yield ok("user namespaces", "open")


def _network(fixer: Fixer) -> Iterator[Check]:
    """What only `internetAccess: true` needs."""
    refused = "needed for internetAccess: true"
    programs = [name for name in ("pasta", "slirp4netns") if shutil.which(name)]
    if programs:
        yield ok("user network", ", ".join(programs))
    else:
        yield warning("user network", refused, fixer.install("slirp4netns"))
    # Used by the hook that closes the host's addresses and local networks to containers.
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        found = shutil.which(program, path=network.HOOK_PATH)
        yield ok(program, found) if found else warning(program, refused, fixer.install(package))
    tun = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    fix = fixer.as_root("modprobe tun && chmod 666 /dev/net/tun")
    yield ok("/dev/net/tun", "open") if tun else warning("/dev/net/tun", "internetAccess: true needs it open", fix)


def _cgroups(fixer: Fixer) -> Iterator[Check]:
    instead = "limits of memory, processes and processors are enforced by a watchdog, ulimits and CPU affinity"
    if not containers_conf.cgroups_are_v2():
        boot = "systemd.unified_cgroup_hierarchy=1"
        line = f"echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {boot}\"' > /etc/default/grub.d/cgroups.cfg"
        fix = fixer.as_root(f"sh -c {shlex.quote(line)} && update-grub && reboot") if _anywhere("update-grub") else None
        yield warning("cgroups", f"v1 or hybrid: {instead}; v2 comes with {boot} on the kernel's command line", fix)
        return
    yield ok("cgroups", "v2")
    if _systemd_runs():
        linger = Path("/var/lib/systemd/linger", _me()).exists()
        what = "is off: the account's systemd and all containers stop soon after the account logs out"
        fix = fixer.as_root(f"loginctl enable-linger {_me()}")
        yield ok("linger", "on") if linger else warning("linger", what, fix)
    held = containers_conf.session_controllers()
    if held is None:
        yield warning(
            "delegated controllers",
            f"none, as the account has no systemd of its own: {instead}",
            fixer.as_root(f"loginctl enable-linger {_me()}") if _systemd_runs() else None,
        )
    elif lacking := {"cpu", "memory", "pids"} - held:
        lines = "[Service]\\nDelegate=cpu cpuset io memory pids\\n"
        write = f"printf '{lines}' > /etc/systemd/system/user@.service.d/delegate.conf"
        fix = fixer.as_root(
            f"mkdir -p /etc/systemd/system/user@.service.d && sh -c {shlex.quote(write)} && systemctl daemon-reload"
        )
        what = f"without {', '.join(sorted(lacking))}: {instead}; the fix takes effect at the next login"
        yield warning("delegated controllers", what, fix)
    else:
        yield ok("delegated controllers", " ".join(sorted(held)))


def _systemd_runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _podman_info(fixer: Fixer) -> tuple[Check, dict[str, Any] | None]:
    """Runs `podman info`, and ends the process that holds Podman's user namespace if it was not there before."""
    with _aside() as (options, environ, ended):
        command = ["podman", *options, "info", "--format", "json"]
        try:
            done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, timeout=PODMAN_SECONDS)
        except subprocess.TimeoutExpired as error:
            held = locks.holder(locks.storage())
            return missing("podman info", f"{held}. End that process" if held else str(error), None), None
        except OSError as error:
            return missing("podman info", str(error), fixer.install("podman", "uidmap")), None
        finally:
            ended()
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it failed"]
        return missing("podman info", last[0][:300], fixer.as_account("podman system migrate")), None
    return ok("podman info", "answers"), json.loads(done.stdout)


@contextlib.contextmanager
def _aside() -> Iterator[tuple[list[str], dict[str, str], Callable[[], None]]]:
    """Podman's options and environment for a check, and a function that ends the process that Podman leaves.

    The check must not create storage for an account that has none: Debian 12's Podman would choose vfs, permanently.
    """
    environ = dict(os.environ)
    if not containers_conf.storage_is_unmade():
        directory = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
        was_there = _pause(directory) is not None or _podman_works()
        yield [], environ, lambda: None if was_there else _end_pause(directory)
        return
    with tempfile.TemporaryDirectory(prefix="agentcontainer-doctor-") as folder:
        options = [f"--root={folder}/root", f"--runroot={folder}/run", f"--network-config-dir={folder}"]
        if containers_conf.overlay_works():
            options.append("--storage-driver=overlay")
        yield options, {**environ, "XDG_RUNTIME_DIR": folder}, lambda: _end_pause(Path(folder))


def _pause(runtime_dir: Path) -> int | None:
    said = _text(f"{runtime_dir}/libpod/tmp/pause.pid") or ""
    return int(said) if said.isdigit() and Path("/proc", said).exists() else None


def _podman_works() -> bool:
    """Whether another Podman of this account is running. It would lose its namespace if that process ended."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # a process may end while it is looked at
            if _text(f"/proc/{pid}/comm") == "podman" and Path("/proc", pid).stat().st_uid == os.getuid():
                return True
    return False


def _end_pause(runtime_dir: Path) -> None:
    if (pid := _pause(runtime_dir)) is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        Path(runtime_dir, "libpod/tmp/pause.pid").unlink(missing_ok=True)


def _podman(info: dict[str, Any], fixer: Fixer) -> Iterator[Check]:
    version = info["version"]["Version"]
    new = tuple(int(part) for part in version.split(".")[:2]) >= MIN_PODMAN_VERSION
    yield (
        ok("podman version", version)
        if new
        else missing(
            "podman version", f"{version}; 4.3 is the oldest that works", "upgrade to Debian 12, Ubuntu 24.04 or later"
        )
    )
    driver = info["store"]["graphDriverName"]
    if containers_conf.storage_is_unmade():
        yield ok("storage", f"{driver}, from the first start on")
    elif driver in ("overlay", "btrfs"):
        yield ok("storage", driver)
    else:
        fix = fixer.as_account(f"podman system reset && printf '[storage]\\ndriver = \"overlay\"\\n' > {STORAGE_CONF}")
        yield warning(
            "storage",
            f"{driver} copies a whole image for each container. The command below chooses another"
            " driver, and REMOVES all images, containers and volumes of this account first",
            fix,
        )
    seccomp = info["host"]["security"]["seccompEnabled"]
    off = "is off: system calls are not filtered"
    yield (
        ok("seccomp", "on") if seccomp else warning("seccomp", off, fixer.install(info["host"]["ociRuntime"]["name"]))
    )


def _images(info: dict[str, Any]) -> Iterator[Check]:
    listing = ("podman", "images", "--filter", f"label={standard_images.LABEL}", "--format", "{{.Repository}}")
    said = "" if containers_conf.storage_is_unmade() else _run(*listing) or ""
    there = {line.rpartition("agentcontainer-")[2] for line in said.split()}
    for preset, name in standard_images.BY_PRESET.items():
        detail = "is built at the first task that needs it; this takes some minutes"
        yield ok(f"image {preset}", "is there") if name in there else warning(f"image {preset}", detail, None)


def _leftovers() -> Check:
    """Containers and volumes of stores that no longer exist."""
    wanted = ["--filter", f"label={STORE}", "--format", f'{{{{index .Labels "{STORE}"}}}}']
    listings = [] if containers_conf.storage_is_unmade() else [("ps", "--all"), ("volume", "ls")]
    owners = [owner for listing in listings for owner in (_run("podman", *listing, *wanted) or "").split()]
    where = {owner: identity.whereabouts(owner).presence for owner in set(owners)}
    gone = [owner for owner in owners if where[owner] is Presence.DELETED]
    unsure = [owner for owner in owners if where[owner] in (Presence.UNREACHABLE, Presence.UNKNOWN)]
    if not gone and not unsure:
        return ok("leftovers", "none of deleted data directories")
    said = [f"{len(gone)} containers and volumes of {len(set(gone))} deleted data directories"] if gone else []
    if unsure:
        said.append(f"{len(unsure)} of {len(set(unsure))} data directories that can't be found")
    return warning("leftovers", ", ".join(said), f"agentcontainer leftovers {'remove' if gone else 'list'}")


def _gvisor(fixer: Fixer) -> Check:
    if found := shutil.which(resource_limits.RUNSC):
        return ok("gVisor", found)
    if platform.machine() not in ("x86_64", "aarch64"):
        return warning("gVisor", "does not exist for this machine; only `isolation: gvisor` needs it", None)
    fix = fixer.as_root("apt-get install runsc")
    return warning("gVisor", "is not installed; only `isolation: gvisor` needs it", fix)


def _run(*words: str) -> str | None:
    try:
        done = subprocess.run(words, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
