"""One virtual machine: booted from a copy of a disk, spoken to by ssh, and gone in the end."""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BOOT_SECONDS = 300


class Failed(AssertionError):
    """A command in the machine ended with an error, or something did not happen in time."""


class Machine:
    """Files of it are in `work`: disk.img (as made), run.qcow2 (what this run writes), console.log."""

    def __init__(self, work: Path, accel: str):
        self.work, self.accel = work, accel
        self.port = _free_port()
        self.process: subprocess.Popen | None = None

    def boot(self) -> None:
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64",
                "-machine",
                "q35",
                *_ACCELERATION[self.accel],
                "-smp",
                "2",
                "-m",
                "5G",
                "-kernel",
                str(self.work / "kernel"),
                "-initrd",
                str(self.work / "initrd"),
                "-append",
                "root=/dev/vda rw console=ttyS0 mitigations=off",
                "-drive",
                f"file={self.work / 'run.qcow2'},if=virtio,format=qcow2,cache=unsafe",
                "-device",
                "virtio-rng-pci",
                "-nic",
                f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                "-display",
                "none",
                "-serial",
                f"file:{self.work / 'console.log'}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.work / "qemu.log").open("ab"),
        )
        self.until("the machine answers", lambda: self.try_("true", seconds=30) is not None, BOOT_SECONDS)

    def reboot(self) -> None:
        before = self.run("cat /proc/sys/kernel/random/boot_id")
        self.try_("systemctl reboot")
        self.until("the machine is up again", lambda: self._booted_since(before), BOOT_SECONDS)

    def _booted_since(self, before: str) -> bool:
        now = self.try_("cat /proc/sys/kernel/random/boot_id", seconds=30)
        return now is not None and now != before

    def run(self, command: str, account: str = "root", seconds: float = 300, given: bytes | None = None) -> str:
        """What it says on stdout; raises Failed with what it says on stderr."""
        done = self._ssh(command, account, seconds, given)
        if done.returncode:
            raise Failed(f"`{command}` ended with {done.returncode}: {_end(done.stderr) or _end(done.stdout)}")
        return done.stdout.decode(errors="replace").strip()

    def try_(self, command: str, account: str = "root", seconds: float = 300) -> str | None:
        """The same; None if it fails."""
        with contextlib.suppress(Failed):
            return self.run(command, account, seconds)
        return None

    def both(self, command: str, account: str = "root", seconds: float = 300) -> str:
        """stdout and stderr of a command, whatever its exit code."""
        done = self._ssh(command, account, seconds, None)
        return (done.stdout + done.stderr).decode(errors="replace").strip()

    def _ssh(self, command: str, account: str, seconds: float, given: bytes | None) -> subprocess.CompletedProcess:
        words = [*self.ssh(account), f"exec bash -c {shlex.quote(command)}"]
        try:
            return subprocess.run(words, input=given or b"", capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"`{command}` did not end within {seconds:.0f} s") from None

    def ssh(self, account: str = "root", *options: str) -> list[str]:
        known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.work / "key"),
            "-p",
            str(self.port),
            *known,
            "-o",
            "ConnectTimeout=20",
            "-o",
            "ServerAliveInterval=15",
            *options,
            f"{account}@127.0.0.1",
        ]

    @contextlib.contextmanager
    def forwarded(self, port: int) -> Iterator[str]:
        """While open: the base URL of what listens on that port of the machine's loopback."""
        ours = _free_port()
        tunnel = subprocess.Popen(
            [*self.ssh("root", "-N", "-L", f"127.0.0.1:{ours}:127.0.0.1:{port}")], stdin=subprocess.DEVNULL
        )
        try:
            self.until("the tunnel is open", lambda: _answers(ours), 60)
            yield f"http://127.0.0.1:{ours}"
        finally:
            tunnel.terminate()
            tunnel.wait()

    @contextlib.contextmanager
    def session(self, account: str) -> Iterator[Callable[[], None]]:
        """A login that lasts; what is yielded logs out, as the end does. A process left in it would keep it open."""
        login = subprocess.Popen([*self.ssh(account), "cat"], stdin=subprocess.PIPE)

        def log_out() -> None:
            login.stdin.close()
            login.wait()

        try:
            self.until("logged in", lambda: account in self.run("loginctl list-sessions --no-legend"), 120)
            yield log_out
        finally:
            log_out()

    def give_pi(self, account: str, home: str) -> None:
        """What a first start would fetch from the npm registry, which this machine does not reach."""
        cache = f"{home}/.cache/agentcontainer"
        self.run(
            f"install -d -o {account} -g {account} {home}/.cache {cache}"
            f" && tar -C {cache} -xf /opt/in/cache.tar && chown -R {account}: {home}/.cache"
        )

    def until(self, what: str, happened, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            if self.process is not None and self.process.poll() is not None:
                raise Failed(f"QEMU has ended: {_end((self.work / 'qemu.log').read_bytes())}")
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds:.0f} s: {what}")
            time.sleep(1)


# Without KVM all is emulated, 10 to 30 times slower.
_ACCELERATION = {
    "tcg": ["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max,la57=off,pku=off"],
    "kvm": ["-accel", "kvm", "-cpu", "host"],
}


@contextlib.contextmanager
def running(work: Path, accel: str, keep: bool) -> Iterator[Machine]:
    """A machine on a fresh copy of its disk. `keep`: it is left running when something has failed."""
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(work / "disk.img"), str(work / "run.qcow2")],
        check=True,
    )
    machine = Machine(work, accel)
    try:
        machine.boot()
        yield machine
    finally:
        if machine.process is not None and keep:
            print("vm: the machine is left running, process", machine.process.pid, file=sys.stderr)
            print("vm:", shlex.join(machine.ssh()), file=sys.stderr)
        elif machine.process is not None:
            machine.process.terminate()
            machine.process.wait()
            os.unlink(work / "run.qcow2")


def _end(said: bytes) -> str:
    return said.decode(errors="replace").strip()[-600:]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
