"""Machines made of namespaces: each has a network, a hostname, processes, mounts and a home of its own.

They share the files of the real machine. /usr and /etc are overlays there, so that packages of the engine and its
configuration are found without being installed. All of it is in one folder and in the holders' processes, and both go
in the end. The manual page namespaces(7) has the details.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN = """
set -e
cd /
mount -t overlay overlay -o lowerdir="$FOLDER/packages/usr:/usr" /usr
mount -t overlay overlay -o lowerdir="$FOLDER/etc:/etc" /etc
mount --bind "$CLONE" "$FOLDER/clone"  # which may lie below /tmp
for dir in /run /dev/shm /tmp; do mount -t tmpfs -o mode=1777 tmpfs "$dir"; done
mkdir -p "$CLONE"
mount --bind "$FOLDER/clone" "$CLONE"
chmod 755 /run
mkdir -p "/run/user/$ACCOUNT_UID" /run/lock
chown "$ACCOUNT_UID:$ACCOUNT_GID" "/run/user/$ACCOUNT_UID"
chmod 700 "/run/user/$ACCOUNT_UID"
mount --bind "$FOLDER/$NAME" "$ACCOUNT_HOME"
hostname "$NAME"
ip link set lo up
echo ready
exec catatonit -P
"""
CLONE = Path(__file__).parents[2]
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")  # a machine goes with the tests, however they end
ALL = ("--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup")


def missing() -> str | None:
    """What this machine lacks for namespaces of its own, in words; None where it lacks nothing."""
    if os.geteuid() != 0:
        return "only root makes network and mount namespaces with a hostname and PIDs of their own"
    tried = subprocess.run(["unshare", *ALL, "--fork", "--mount-proc", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"this machine makes no namespaces: {tried.stderr.strip()}"
    wanted = [name for name in ("ip", "catatonit", "nsenter") if shutil.which(name) is None]
    return f"programs are missing: {', '.join(wanted)}" if wanted else None


@dataclass
class Machine:
    name: str
    address: str
    folder: Path
    account: pwd.struct_passwd
    holder: subprocess.Popen[str] | None = None
    started: list[subprocess.Popen] = field(default_factory=list)  # in it, to be reaped

    @property
    def on(self) -> bool:
        return self.holder is not None and self.holder.poll() is None

    def power_on(self) -> None:
        home = self.folder / self.name
        home.mkdir(exist_ok=True)
        os.chown(home, self.account.pw_uid, self.account.pw_gid)
        environ = {
            "PATH": os.environ["PATH"],
            "FOLDER": str(self.folder),
            "NAME": self.name,
            "CLONE": str(CLONE),
            "ACCOUNT_UID": str(self.account.pw_uid),
            "ACCOUNT_GID": str(self.account.pw_gid),
            "ACCOUNT_HOME": self.account.pw_dir,
        }
        self.holder = subprocess.Popen(
            [*WITH_US, "unshare", *ALL, "--fork", "--kill-child", "--mount-proc", "bash", "-c", BEGIN],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n", f"machine {self.name} did not start"

    def power_off(self) -> None:
        """At once, with all of its processes, as when the plug is pulled. Its files stay."""
        if self.holder is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.init, signal.SIGKILL)
            with self.holder:
                self.holder.wait()
            for process in self.started:
                process.wait(timeout=10)
            self.started.clear()

    @property
    def init(self) -> int:
        """The machine's first process, as this machine counts."""
        assert self.holder is not None
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        if not children:
            raise ProcessLookupError(self.name)
        return int(children[0])

    def command(self, words: Sequence[str], user: str, environ: Mapping[str, str]) -> list[str]:
        entered = ["nsenter", "--target", str(self.init), *ALL, "--wd=/", "--"]
        if user == "root":
            chosen = {"HOME": "/root"}
        else:
            entered += ["setpriv", f"--reuid={user}", "--regid", str(pwd.getpwnam(user).pw_gid), "--init-groups", "--"]
            account = pwd.getpwnam(user)
            chosen = {"HOME": account.pw_dir, "USER": user, "XDG_RUNTIME_DIR": f"/run/user/{account.pw_uid}"}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {"PATH": path, **chosen, **environ}
        return [*entered, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *words]

    def run(
        self, *words: str, user: str = "root", environ: Mapping[str, str] | None = None, check: bool = True, **options
    ) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": 120, "stdin": subprocess.DEVNULL, **options}
        if "input" in options:
            del options["stdin"]
        ran = subprocess.run(self.command(words, user, environ or {}), **options)
        assert not check or ran.returncode == 0, f"{self.name}: {' '.join(words)}: {ran.stdout}{ran.stderr}"
        return ran

    def start(
        self, *words: str, user: str = "root", environ: Mapping[str, str] | None = None, **options
    ) -> subprocess.Popen:
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, **options}
        process = subprocess.Popen(self.command(words, user, environ or {}), **options)
        self.started.append(process)
        return process

    def processes(self) -> dict[int, list[str]]:
        """Command lines of all in it, also of those that have namespaces of their own, by the real machine's pid."""
        parents, init = {}, self.init
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])

        def here(pid: int) -> bool:
            while pid not in (0, init):
                pid = parents.get(pid, 0)
            return pid == init

        found = {}
        for pid in filter(here, parents):
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
        return found


class Network:
    """A bridge in a network namespace of its own, with a cable to each machine."""

    def __init__(self) -> None:
        self._holder: subprocess.Popen | None = None

    def open(self) -> None:
        self._holder = subprocess.Popen(
            [*WITH_US, "unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "ready\n"
        self._ip("link", "add", "lan", "type", "bridge")
        self._ip("link", "set", "lan", "up")

    def plug(self, machine: Machine) -> None:
        assert self._holder is not None
        if self._ip("link", "show", machine.name, check=False).returncode == 0:
            self._ip("link", "del", machine.name)
        cable = ["link", "add", machine.name, "type", "veth", "peer", "name", "eth0", "netns", str(machine.init)]
        self._ip(*cable)
        self._ip("link", "set", machine.name, "master", "lan", "up")
        machine.run("ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")

    def cut(self, machine: Machine) -> None:
        self._ip("link", "set", machine.name, "down")

    def heal(self, machine: Machine) -> None:
        self._ip("link", "set", machine.name, "up")

    def close(self) -> None:
        if self._holder is not None:
            with self._holder:
                self._holder.kill()

    def _ip(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert self._holder is not None
        entered = ["nsenter", "--target", str(self._holder.pid), "--net", "ip", *words]
        return subprocess.run(entered, capture_output=True, text=True, check=check)


@contextlib.contextmanager
def made(names: Mapping[str, str], folder: Path, account: str) -> Iterator[tuple[dict[str, Machine], Network]]:
    """Machines by name, with these addresses, on one network. In the end nothing of them is left."""
    network = Network()
    machines = {name: Machine(name, address, folder, pwd.getpwnam(account)) for name, address in names.items()}
    try:
        network.open()
        for machine in machines.values():
            machine.power_on()
            network.plug(machine)
        yield machines, network
    finally:
        for machine in machines.values():
            machine.power_off()
        network.close()
