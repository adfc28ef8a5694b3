"""What rootless Podman and we need of a machine, cheapest first, each with the command that mends it."""

import contextlib
import json
import os
import platform
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from agentcontainer_local import images, limits
from agentcontainer_local.sandbox import conf
from agentcontainer_local.schemas import Check
from agentcontainer_local.settings import Settings

LEAST_IDS = 65_536              # an agent's uid in its container is at most 59999
LEAST_PODMAN = (4, 3)
LEAST_FREE_GB = 5
GB = 1000**3
ELSEWHERE = ":/usr/sbin:/usr/libexec/podman:/usr/lib/podman"      # and on PATH
APT = "sudo apt-get install --no-install-recommends"


def examine(settings: Settings) -> list[Check]:
    """Takes about a quarter of a second: Podman is asked what it makes of this machine."""
    found = [check for look in (_account, _programs, _namespaces, _network, _cgroups) for check in look()]
    said, info = _podman_info()
    found.append(said)
    if info is not None:
        found += [*_podman(info), *_images(info)]
    return [*found, *_room(settings, info), _gvisor()]


def _ok(name: str, detail: str) -> Check:
    return Check(name=name, status="ok", detail=detail)


def _missing(name: str, detail: str, fix: str | None) -> Check:
    """Without it nothing runs."""
    return Check(name=name, status="missing", detail=detail, fix=fix)


def _warning(name: str, detail: str, fix: str | None) -> Check:
    """Something is not promised, or not possible; the rest is."""
    return Check(name=name, status="warning", detail=detail, fix=fix)


def _me() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _account() -> Iterator[Check]:
    if os.getuid() == 0:
        yield _warning("account", "root; the server hands over to an account without rights", None)
    else:
        yield _ok("account", f"{_me()}, uid {os.getuid()}")
    for kind, option in (("subuid", "--add-subuids"), ("subgid", "--add-subgids")):
        many = _sub_ids(Path("/etc", kind))
        fix = f"sudo usermod {option} 100000-165535 {_me()} && podman system migrate"
        good = many >= LEAST_IDS
        yield _ok(kind, f"{many} ids") if good else _missing(kind, f"{many} ids of {LEAST_IDS} for {_me()}", fix)
    directory = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    with contextlib.suppress(OSError):
        if directory.stat().st_uid == os.getuid():
            yield _ok("runtime directory", str(directory))
            return
    fix = f"sudo loginctl enable-linger {_me()}"
    yield _missing("runtime directory", f"{directory} is not there, or not ours", fix)


def _sub_ids(file: Path) -> int:
    """As files have them; where they come from elsewhere (subid: in nsswitch.conf), getsubids knows."""
    options = ["-g"] if file.name == "subgid" else []
    said = _run("getsubids", *options, _me())
    if said is not None:
        return sum(int(words[-1]) for line in said.splitlines() if (words := line.split()) and words[-1].isdigit())
    with contextlib.suppress(OSError):
        rows = [line.strip().split(":") for line in file.read_text().splitlines()]
        return sum(int(row[2]) for row in rows if len(row) == 3 and row[0] in (_me(), str(os.getuid())))
    return 0


def _programs() -> Iterator[Check]:
    for program, package in (("podman", "podman"), ("conmon", "conmon"), ("catatonit", "catatonit"),
                             ("newuidmap", "uidmap"), ("newgidmap", "uidmap")):
        found = _anywhere(program)
        if not found:
            yield _missing(program, "is not installed", f"{APT} {package}")
        elif program.startswith("new") and not _may_map(found):
            yield _missing(program, f"{found} is neither setuid nor has file capabilities", f"sudo chmod u+s {found}")
        else:
            yield _ok(program, found)
    here = conf.cgroups_are_v2()
    runtime = next((name for name in ("crun", "runc") if shutil.which(name) and (here or name == "runc")), None)
    if runtime:
        yield _ok("OCI runtime", runtime)
    else:
        why = "" if here else ": crun does not start where cgroups are v1 or hybrid"
        yield _missing("OCI runtime", f"neither crun nor runc fits{why}", f"{APT} {'crun' if here else 'runc'}")


def _may_map(program: str) -> bool:
    if os.stat(program).st_mode & stat.S_ISUID:
        return True
    with contextlib.suppress(OSError):
        return bool(os.getxattr(program, "security.capability"))
    return False


def _anywhere(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{ELSEWHERE}")


def _namespaces() -> Iterator[Check]:
    wanted = {
        "/proc/sys/user/max_user_namespaces": (
            lambda value: int(value) > 0, "sudo sysctl user.max_user_namespaces=15000"),
        "/proc/sys/kernel/unprivileged_userns_clone": (
            lambda value: value == "1", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    }  # fmt: skip
    broken = [fix for path, (good, fix) in wanted.items() if (value := _text(path)) is not None and not good(value)]
    if broken:
        yield _missing("user namespaces", "are closed to accounts that are not root", broken[0])
    else:
        yield _ok("user namespaces", "open")


def _network() -> Iterator[Check]:
    """Needed for `internetAccess: true` alone."""
    programs = [name for name in ("pasta", "slirp4netns") if shutil.which(name)]
    what = "internetAccess: true is refused without it"
    yield _ok("user network", ", ".join(programs)) if programs else _warning("user network", what, f"{APT} slirp4netns")
    tun = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    fix = "sudo modprobe tun && sudo chmod 666 /dev/net/tun"
    yield _ok("/dev/net/tun", "open") if tun else _warning("/dev/net/tun", "internetAccess: true needs it open", fix)


def _cgroups() -> Iterator[Check]:
    instead = "limits of memory, processes and processors are kept by a watchdog, ulimits and affinity"
    if not conf.cgroups_are_v2():
        boot = "systemd.unified_cgroup_hierarchy=1"
        fix = (f"echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX {boot}\"' | sudo tee /etc/default/grub.d/cgroups.cfg"
               " && sudo update-grub && sudo reboot") if _anywhere("update-grub") else None
        yield _warning("cgroups", f"v1 or hybrid: {instead}; v2 comes with {boot} on the kernel's command line", fix)
        return
    yield _ok("cgroups", "v2")
    uid = os.getuid()
    held = _text(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers") or ""
    lacking = {"cpu", "memory", "pids"} - set(held.split())
    if lacking:
        lines = "[Service]\\nDelegate=cpu cpuset io memory pids\\n"
        fix = (f"sudo mkdir -p /etc/systemd/system/user@.service.d && printf '{lines}' | sudo tee"
               " /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload")
        what = f"without {', '.join(sorted(lacking))}: {instead}; what mends it takes a new login"
        yield _warning("delegated controllers", what, fix)
    else:
        yield _ok("delegated controllers", " ".join(held.split()))
    if Path("/run/systemd/system").is_dir():
        linger = Path("/var/lib/systemd/linger", _me()).exists()
        what = "containers are killed soon after the account logs out"
        fix = f"sudo loginctl enable-linger {_me()}"
        yield _ok("linger", "on") if linger else _warning("linger", what, fix)


def _podman_info() -> tuple[Check, dict | None]:
    try:
        done = subprocess.run(
            ["podman", "info", "--format", "json"], cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _missing("podman info", str(error), f"{APT} podman uidmap"), None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it failed"]
        return _missing("podman info", last[0][:300], "podman system migrate"), None
    return _ok("podman info", "answers"), json.loads(done.stdout)


def _podman(info: dict) -> Iterator[Check]:
    version = info["version"]["Version"]
    new = tuple(int(part) for part in version.split(".")[:2]) >= LEAST_PODMAN
    yield _ok("podman version", version) if new else _missing(
        "podman version", f"{version}; 4.3 is the oldest that works", "upgrade to Debian 12, Ubuntu 24.04 or later")
    driver = info["store"]["graphDriverName"]
    fix = ("printf '[storage]\\ndriver = \"overlay\"\\n' > ~/.config/containers/storage.conf && podman system reset"
           " (which removes the account's images and containers)")
    yield _ok("storage", driver) if driver in ("overlay", "btrfs") else _warning(
        "storage", f"{driver} copies a whole image for each container", fix)
    seccomp = info["host"]["security"]["seccompEnabled"]
    off = "is off: system calls are not filtered"
    yield _ok("seccomp", "on") if seccomp else _warning("seccomp", off, f"{APT} {info['host']['ociRuntime']['name']}")


def _images(info: dict) -> Iterator[Check]:
    said = _run("podman", "images", "--filter", f"label={images.LABEL}", "--format", "{{.Repository}}") or ""
    there = {line.rpartition("agentcontainer-")[2] for line in said.split()}
    for preset, name in images.BY_PRESET.items():
        detail = "is built at the first task that needs it, which takes minutes"
        yield _ok(f"image {preset}", "is there") if name in there else _warning(f"image {preset}", detail, None)


def _room(settings: Settings, info: dict | None) -> Iterator[Check]:
    places = {"data": settings.data, **({"storage": Path(info["store"]["graphRoot"])} if info else {})}
    for name, path in places.items():
        there = next(place for place in (path, *path.parents) if place.exists())
        free = shutil.disk_usage(there).free
        words = f"{free / GB:.1f} GB free at {path}"
        good = free >= LEAST_FREE_GB * GB
        yield _ok(f"disk for {name}", words) if good else _warning(
            f"disk for {name}", words, "podman image prune, or give it more room")


def _gvisor() -> Check:
    if found := shutil.which(limits.RUNSC):
        return _ok("gVisor", found)
    if platform.machine() not in ("x86_64", "aarch64"):
        return _warning("gVisor", "does not exist for this machine; only `isolation: gvisor` needs it", None)
    return _warning("gVisor", "is not installed; only `isolation: gvisor` needs it", "sudo apt-get install runsc")


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
