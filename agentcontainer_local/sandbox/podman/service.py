"""Podman's API service. The server starts it, and stops it at its own end; or the operator runs one."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from agentcontainer_local.process import atomic_file, runtime_directory
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.sandbox.podman import containers_conf, locks, network, processes, seccomp

START_SECONDS = 30
SOCKET = "podman.sock"
# The environment variables that Podman gets. Provider keys must not be among them, because conmon inherits them.
ENVIRONMENT = [
    "HOME", "USER", "LOGNAME", "PATH", "LANG", "TMPDIR",
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS",
    "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    # for jobs on nodes, which already have a user namespace and root in it
    "_CONTAINERS_USERNS_CONFIGURED", "_CONTAINERS_ROOTLESS_UID", "_CONTAINERS_ROOTLESS_GID",
]  # fmt: skip


class Service:
    """A Podman service. Call `up` before each request, and `recover` after a request without an answer."""

    def __init__(self, directory: Path, given_socket: str | None, oci_runtime: str | None):
        self.socket = Path(given_socket.removeprefix("unix://")) if given_socket else directory / SOCKET
        self.ours = not given_socket
        self.environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self.runtime_dir = directory
        self.hooks = directory / "hooks.d"
        self.seccomp: Path | None = None
        self._configured: list[Path] = []  # files that must exist while the service runs
        self._oci_runtime = oci_runtime
        self._scoped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()
        self.started = 0  # number of services started so far
        self._failed: Unavailable | None = None  # the error of the last failed attempt

    @property
    def runtime_dirs(self) -> tuple[str, ...]:
        """If a file in these directories is missing, the caller of Podman can't fix that."""
        given = self.environment.get("XDG_RUNTIME_DIR")
        return (str(self.runtime_dir), *([given] if given else []))

    async def up(self) -> None:
        if self._is_configured() and (not self.ours or self._alive()):
            return
        async with self._one_at_a_time():
            if not self._is_configured():
                await self._configure_again()
            if self.ours and not self._alive():
                await self._start()

    async def recover(self, hung: int = 0) -> None:
        """Ensures that a service answers after a connection broke. Raises Unavailable if none does.

        `hung`: the number (see `started`) of the service that does not answer. It may have been replaced since.
        """
        async with self._one_at_a_time():
            for _ in range(50):  # a killed process closes its sockets a moment before it can be waited for
                if hung == self.started > 0 or (self.ours and not self._alive()):
                    break
                if self._answers():
                    return
                await asyncio.sleep(0.02)
            if not self.ours:
                raise Unavailable(
                    f"Podman's API service at {self.socket} does not answer: start it (podman system service --time=0 "
                    f"unix://{self.socket}), or leave the setting out, and one is started for you."
                )
            await self.close(signal.SIGKILL)
            if not self._is_configured():
                await self._configure_again()
            await self._start()

    @contextlib.asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        """Lets one caller at a time start a service. If that fails, the callers that waited fail too."""
        before = self._failed
        async with self._starting:
            if self._failed is not before:
                raise Unavailable(str(self._failed))
            try:
                yield
            except Unavailable as error:
                self._failed = error
                raise

    def _is_configured(self) -> bool:
        """Whether Podman's configuration is still there: a runtime directory can be removed while the server runs."""
        return bool(self._configured) and all(path.exists() for path in self._configured)

    async def _configure_again(self) -> None:
        """Writes the configuration again. A running service has lost its files there too, so it is killed first."""
        await self.close(signal.SIGKILL)
        try:
            runtime_directory.make(self.runtime_dir)
            await self._configure()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            raise Unavailable(
                f"The runtime directory {self.runtime_dir} is gone, and cannot be made again: {error}. Where logind "
                "has removed it, run `loginctl enable-linger` for this account, which keeps it, or log in again."
            ) from None

    async def close(self, number: int = signal.SIGTERM) -> None:
        """Ends the service. Containers and their network processes continue, in process groups of their own."""
        if self._process is None:
            return
        running, self._process = self._process, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        try:
            await asyncio.to_thread(running.wait, 5)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            await asyncio.to_thread(running.wait)
        with contextlib.suppress(OSError):  # it may be gone, together with its directory
            self.socket.unlink()

    async def prepare(self) -> None:
        """Writes the configuration and ensures that a service answers."""
        await self.tell()
        await (self.up() if self.ours else self.recover())

    async def tell(self) -> None:
        """Writes the configuration. Raises SandboxError if no service can be started at all."""
        if self.ours:
            self._check()
            containers_conf.choose_storage()
            self._scoped = await asyncio.to_thread(containers_conf.gives_scopes)
        await self._configure_again()

    async def _configure(self) -> None:
        self.seccomp = seccomp.write_profile(self.runtime_dir)
        if self.ours:
            await self._write_configuration()
        ours = [self.runtime_dir / "containers.conf", self.hooks] if self.ours else [self.runtime_dir]
        self._configured = [*ours, *([self.seccomp] if self.seccomp else [])]

    def _check(self) -> None:
        if os.getuid() == 0 and "_CONTAINERS_USERNS_CONFIGURED" not in self.environment:
            raise SandboxError("containers are rootless here: run as an account that is not root")
        if len(os.fsencode(self.socket)) > 107:
            raise SandboxError(f"{self.socket} is longer than a socket's 107 bytes: choose a shorter runtime directory")
        if not shutil.which("podman"):
            raise SandboxError("podman is missing: apt-get install podman uidmap slirp4netns catatonit")

    async def _write_configuration(self) -> None:
        version = await asyncio.to_thread(subprocess.check_output, ["podman", "--version"], text=True, cwd="/")
        network.write_hook(self.hooks, network.driver(version.split()[2]))
        # The file must exist after this process ends, and be complete at any moment: conmon passes its path to the
        # cleanup after a container's end.
        configuration = self.runtime_dir / "containers.conf"
        atomic_file.write(
            configuration,
            containers_conf.text(self.hooks, self._oci_runtime, containers_conf.gvisor_runtime(self.runtime_dir)),
        )
        self.environment["CONTAINERS_CONF"] = str(configuration)

    async def _start(self) -> None:
        await self._end_leftover()
        self.socket.unlink(missing_ok=True)
        log = self.runtime_dir / "podman.log"
        # Start it on the event loop's own thread: the parent-death signal is sent when the *thread* that forked ends.
        # The signal does not reach the second process of Podman's first start after a boot; _end_leftover finds that
        # one at the next start.
        self.started += 1
        with log.open("wb") as output:
            command = [
                "setpriv",
                "--pdeathsig",
                "TERM",
                "podman",
                "system",
                "service",
                "--time=0",
                f"unix://{self.socket}",
            ]
            self._process = subprocess.Popen(
                [*self._scope(), *command],
                env=self.environment,
                cwd="/",
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        for _ in range(START_SECONDS * 100):
            if self._answers():
                return
            if not self._alive():
                break
            await asyncio.sleep(0.01)
        await self.close(signal.SIGKILL)
        said = ""
        with contextlib.suppress(OSError):
            said = log.read_text(errors="replace").strip()[-2000:]
        held = await asyncio.to_thread(locks.holder, locks.storage())
        why = f" because {held}: end that process" if held else "; try `podman info`"
        raise Unavailable(f"Podman's API service did not start{why}. It said: {said or 'nothing'}")

    def _scope(self) -> list[str]:
        """The prefix for a scope beside the containers: `systemctl kill` of our unit must not end their networks."""
        return containers_conf.scope(f"agentcontainer-podman-{secrets.token_hex(4)}") if self._scoped else []

    async def _end_leftover(self) -> None:
        """Ends a service that outlived a killed server and still listens on our socket."""
        pid = listener(self.socket)
        if pid is None or f"unix://{self.socket}" not in processes.command_line(pid):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(processes.exited(pid), 5)
                return

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        return listener(self.socket) is not None


def listener(path: Path) -> int | None:
    """The pid of the process that listens on a socket, from the kernel; None if there is none."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
