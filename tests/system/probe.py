"""Ways out of a container, tried from inside: the ideas of public escape benchmarks as checks that need no model.

`python3 probe.py '{"name": …}'` prints one JSON object: check → null where the wall held, else what went through it.
"""

import contextlib
import ctypes
import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GIVEN = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
CHECKS = {}
# x86-64 and arm64
CALLS = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "acct": (163, 89),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "sethostname": (170, 161),
    "fsopen": (430, 430),
    "move_mount": (429, 429),
    "syslog": (103, 116),
    "chroot": (161, 51),
    "userfaultfd": (323, 282),
    "process_vm_writev": (311, 271),
    "lookup_dcookie": (212, 18),
}


def check(function):
    CHECKS[function.__name__] = function
    return function


def call(name: str, *arguments) -> str | None:
    """None where the kernel refused it."""
    number = CALLS[name][os.uname().machine == "aarch64"]
    ctypes.set_errno(0)
    result = LIBC.syscall(number, *arguments)
    return None if result == -1 else f"{name} answered {result}"


def opens(path: str, flags: int = os.O_WRONLY) -> str | None:
    with contextlib.suppress(OSError):
        file = os.open(path, flags | os.O_NONBLOCK)
        try:
            masked = os.fstat(file).st_rdev == os.stat("/dev/null").st_rdev  # so OCI runtimes hide a file
        finally:
            os.close(file)
        return None if masked else path
    return None


def files(root: str):
    for folder, _, names in os.walk(root):
        for name in names:
            yield f"{folder}/{name}"


def first(tries) -> str | None:
    return next((went for went in tries if went is not None), None)


def status(name: str) -> str:
    return next(
        line.split(":")[1].strip()
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(name + ":")
    )


@check
def container_sockets():
    own = ("/run/agentcontainer/host.sock", "/run/agentcontainer/egress.sock")
    for folder, folders, names in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys", "usr", "opt")]
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.lstat(path).st_mode) and path not in own:
                    return path
    return first(
        path
        for path in (
            "/var/run/docker.sock",
            "/run/podman/podman.sock",
            "/run/containerd/containerd.sock",
            "/run/crio/crio.sock",
            "/run/user",
        )
        if os.path.exists(path)
    )


@check
def host_mounts():
    disks = {
        "/": "rw",
        "/workspace": "rw",
        "/var/lib/agentcontainer": "rw",
        "/opt/agentcontainer": "ro",
        "/run/agentcontainer": "ro",
        "/etc/hosts": "rw",
        "/etc/hostname": "rw",
        "/etc/resolv.conf": "rw",
        "/run/.containerenv": "rw",
        "/dev/init": "ro",
        "/run/podman-init": "ro",
    }
    virtual = {"proc", "sysfs", "mqueue", "devpts", "cgroup", "cgroup2"}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        target, options, kind = before.split()[4], before.split()[5].split(","), after.split()[0]
        if kind in virtual or kind == "tmpfs" or target.startswith(("/dev/", "/proc/", "/sys/")):
            continue
        if target not in disks or (disks[target] == "ro" and "ro" not in options):
            return line
    return None


@check
def capabilities():
    held = {name: status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    if any(int(value, 16) for value in held.values()):
        return str(held)
    return None if status("NoNewPrivs") == "1" and status("Seccomp") == "2" else "no_new_privs or seccomp is off"


@check
def user_of_the_host():
    uid = os.getuid()
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, outside, count = map(int, line.split())
        if inside <= uid < inside + count:
            real = outside + uid - inside
            return f"is {real} on the host" if real in (0, GIVEN["uid"]) or real == uid else None
    return "no mapping"


@check
def proc_writes():
    named = (
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/kcore",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/vm/panic_on_oom",
        "/proc/1/mem",
        "/proc/bus",
        "/proc/irq",
    )
    return first(map(opens, (*named[:6], *files("/proc/sys"), *files("/proc/irq"), *files("/proc/bus"))))


@check
def sys_writes():
    return first(map(opens, files("/sys")))


@check
def cgroup_release_agent():
    for path in files("/sys/fs/cgroup"):
        if os.path.basename(path) in ("release_agent", "notify_on_release", "cgroup.procs", "devices.allow"):
            with contextlib.suppress(OSError), open(path, "w") as file:
                file.write("1")
                return path
    os.makedirs("/tmp/cg", exist_ok=True)
    return first(
        call("mount", b"cgroup", b"/tmp/cg", kind, 0, option)
        for kind, option in ((b"cgroup", b"rdma"), (b"cgroup2", None), (b"cgroup", b"memory"))
    )


@check
def kernel_secrets():
    for path in (
        "/proc/kcore",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/kmsg",
        "/dev/kmsg",
        "/proc/latency_stats",
        "/dev/mem",
        "/dev/port",
        "/sys/kernel/debug",
        "/sys/firmware/dmi/tables/DMI",
    ):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if file.read(16):
                return path
    symbols = Path("/proc/kallsyms")
    with contextlib.suppress(OSError), symbols.open() as file:
        if int((file.readline().split() or ["0"])[0], 16):
            return "kernel addresses"
    return call("syslog", 3, ctypes.create_string_buffer(100), 100)


@check
def setuid_programs():
    own = Path("/workspace/sh")
    own.write_bytes(Path("/bin/sh").read_bytes())
    own.chmod(0o6755)
    with contextlib.suppress(OSError):
        os.chown(own, 0, 0)
        return "a file was given to root"
    found = [path for root in ("/usr", "/bin", "/sbin") for path in files(root) if _is_setuid(path)]
    for path, *more in (
        [str(own), "-pc", "id -u"],
        ["su", "-c", "id -u"],
        ["mount", "-t", "tmpfs", "none", "/mnt"],
        ["newgrp", "root"],
        ["passwd", "-d", "root"],
    ):
        with contextlib.suppress(OSError):
            done = subprocess.run([path, *more], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
            if done.returncode == 0 and done.stdout.strip() in ("0", "") and path != "newgrp":
                return f"{path}: {done.stdout}"
    if not found:
        return "no setuid program is in the image: this check saw nothing"
    return None if os.geteuid() == os.getuid() != 0 else "root"


def _is_setuid(path: str) -> bool:
    with contextlib.suppress(OSError):
        mode = os.lstat(path).st_mode
        return stat.S_ISREG(mode) and bool(mode & stat.S_ISUID)
    return False


@check
def device_nodes():
    usual = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    for path in files("/dev"):
        mode = os.lstat(path).st_mode
        if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and os.path.basename(path) not in usual and "/pts/" not in path:
            return path
    character, block = stat.S_IFCHR, stat.S_IFBLK
    for kind, major, minor in ((character, 1, 1), (block, 8, 0), (block, 254, 0), (character, 10, 229)):
        with contextlib.suppress(OSError):
            os.mknod(f"/workspace/node-{minor}", kind | 0o666, os.makedev(major, minor))
            return f"mknod {major} {minor}"
    return None


@check
def kernel_calls():
    buffer = ctypes.create_string_buffer(200)
    return first(
        (
            call("init_module", buffer, 200, b""),
            call("finit_module", 0, b"", 0),
            call("delete_module", b"loop", 0),
            call("kexec_load", 0, 0, None, 0),
            call("reboot", 0xFEE1DEAD, 672274793, 0, None),
            call("swapon", b"/workspace/sh", 0),
            call("acct", None),
            call("bpf", 0, buffer, 72),
            call("perf_event_open", buffer, -1, 0, -1, 0),
            call("open_by_handle_at", 3, buffer, 0),
            call("quotactl", 0, b"/", 0, buffer),
            call("sethostname", b"x", 1),
            call("settimeofday", buffer, None),
            call("fsopen", b"tmpfs", 0),
            call("chroot", b"/tmp"),
            call("umount2", b"/proc/kcore", 2),
            call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
            call("mount", b"/proc", b"/mnt", None, 4096, None),
            call("pivot_root", b"/tmp", b"/tmp"),
            call("mount", None, b"/opt/agentcontainer", None, 4096 | 32, None),
        )
    )


@check
def user_namespaces():
    """From inside one of its own an agent would have all rights over it, and all the kernel that they open."""
    for flags in (0x10000000, 0x10020000, 0x10000000 | 0x40000000):
        child = os.fork()
        if child == 0:
            os._exit(0 if LIBC.unshare(flags) == 0 else 1)
        if os.waitpid(child, 0)[1] == 0:
            return f"unshare {flags:#x}"
    return None


@check
def other_processes():
    """Only its own, and those of its own kind."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.getuid():
                return f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes()!r}"
    for pid in (*range(100_000, 100_050), GIVEN["server"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid > 50_000 or not os.path.exists(f"/proc/{pid}"):
                os.kill(pid, 0)
                return f"signals {pid}"
    return None


@check
def leaked_files():
    """Descriptors that the runtime left open, and the runtime's own program (CVE-2024-21626, CVE-2019-5736)."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{number}")
                if target.startswith("/") and not os.path.exists(target) and "(deleted)" not in target:
                    return f"{pid} has {target}"
        if went := opens(f"/proc/{pid}/exe"):
            return went
    return None


@check
def abstract_sockets():
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as abstract:
        abstract.settimeout(2)
        abstract.connect("\0" + GIVEN["abstract"])
        return "connected"
    return None


@check
def run_directory_writes():
    for root in ("/run/agentcontainer", "/opt/agentcontainer", "/opt/agentcontainer/guest"):
        with contextlib.suppress(OSError):
            Path(root, "new").write_text("x")
            return f"{root}/new"
    for change in (
        lambda: os.unlink("/run/agentcontainer/host.sock"),
        lambda: os.rename("/run/agentcontainer/launch.json", "/run/agentcontainer/old"),
        lambda: os.chmod("/run/agentcontainer/launch.json", 0o777),
        lambda: os.link("/run/agentcontainer/launch.json", "/workspace/launch.json"),
        lambda: os.setxattr("/run/agentcontainer/launch.json", "user.x", b"y"),
    ):
        with contextlib.suppress(OSError):
            change()
            return "a change was taken"
    return first(map(opens, files("/opt/agentcontainer/guest")))


@check
def the_hosts_addresses():
    """The server itself, whatever listens on the host, the metadata service, neighbours."""
    tried = [(address, port) for address in GIVEN["addresses"] for port in GIVEN["ports"]]
    with ThreadPoolExecutor(24) as together:
        return first(together.map(answered, tried))


def answered(target: tuple[str, int]) -> str | None:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as tried:
        tried.settimeout(1)
        tried.connect(target)
        return f"{target} was connected to"
    return None


@check
def raw_sockets():
    families = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, 1),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW, 3),
        "audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
    }
    for name, kind in families.items():
        with contextlib.suppress(OSError):
            socket.socket(*kind).close()
            return name
    return None


@check
def the_hypervisors_sockets():
    with contextlib.suppress(OSError), socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as machine:
        machine.settimeout(1)
        refused = {machine.connect_ex((cid, 1024)) for cid in (0, 1, 2)}
        return None if 0 not in refused else "connected"
    return None


@check
def keys_of_others():
    """The kernel's keyrings: nothing of the server's account or of another run is in reach."""
    keyctl = (250, 219)[os.uname().machine == "aarch64"]
    for ring in (-3, -4, -5, -2, -1):
        if LIBC.syscall(keyctl, 10, ring, b"user", GIVEN["key"].encode(), 0) > 0:
            return f"found in {ring}"
    buffer = ctypes.create_string_buffer(100)
    read = LIBC.syscall(keyctl, 11, GIVEN["serial"], buffer, 100) if GIVEN["serial"] else -1
    return f"read {buffer.value!r}" if read > 0 else None


@check
def the_machines_name():
    return None if socket.gethostname() == "agent" else socket.gethostname()


if __name__ == "__main__":
    results = {}
    for name, function in CHECKS.items():
        try:
            results[name] = function()
        except Exception as error:
            results[name] = f"the check failed: {type(error).__name__}: {error}"
    print(json.dumps(results))
