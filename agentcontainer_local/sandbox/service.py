"""Podman's API service: started, kept going, and ended with the sandbox, or the operator's own."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

from agentcontainer_local import whole
from agentcontainer_local.sandbox import conf, network, process, syscalls
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable

START_SECONDS = 30
# What Podman may know of our environment: conmon inherits from it, and provider keys have no business there.
ENVIRONMENT = [
    "HOME", "USER", "LOGNAME", "PATH", "LANG", "TMPDIR",
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "DBUS_SESSION_BUS_ADDRESS",
    "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
]  # fmt: skip


class Service:
    """Where Podman answers. `up` before each call; `recover` after one that got no answer."""

    def __init__(self, runtime_dir: Path, given_socket: str | None, oci_runtime: str | None):
        self.socket = Path(given_socket.removeprefix("unix://")) if given_socket else runtime_dir / "podman.sock"
        self.ours = not given_socket
        self.environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self.runtime_dir = runtime_dir
        self.hooks = runtime_dir / "hooks.d"
        self.seccomp: Path | None = None
        self._oci_runtime = oci_runtime
        self._scoped = False
        self._process: subprocess.Popen | None = None
        self._starting = asyncio.Lock()

    async def up(self) -> None:
        if not self.ours or self._alive():
            return
        async with self._starting:
            if not self._alive():
                await self._start()

    async def recover(self, hung: bool = False) -> None:
        """Make sure that somebody answers after a connection broke; raise Unavailable if nobody does."""
        async with self._starting:
            for _ in range(50):  # a process that was killed closes its sockets a moment before it can be waited for
                if hung or (self.ours and not self._alive()):
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
            await self._start()

    async def close(self, number: int = signal.SIGTERM) -> None:
        """End our service; containers and what serves their network live on, in process groups of their own."""
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
        self.socket.unlink(missing_ok=True)

    async def prepare(self) -> None:
        """Write what Podman is told, and see that a service answers."""
        self.runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.seccomp = syscalls.write_profile(self.runtime_dir)
        if not self.ours:
            await self.recover()
            return
        if os.getuid() == 0:
            raise SandboxError("containers are rootless here: run as an account that is not root")
        if len(os.fsencode(self.socket)) > 107:
            raise SandboxError(f"{self.socket} is longer than a socket's 107 bytes: choose a shorter runtime directory")
        if not shutil.which("podman"):
            raise SandboxError("podman is missing: apt-get install podman uidmap slirp4netns catatonit")
        conf.choose_storage()
        await self._write_configuration()
        self._scoped = await asyncio.to_thread(conf.gives_scopes)
        await self.up()

    async def _write_configuration(self) -> None:
        version = await asyncio.to_thread(subprocess.check_output, ["podman", "--version"], text=True, cwd="/")
        network.write_hook(self.hooks, network.driver(version.split()[2]))
        # It must outlive us, and be whole at any moment: conmon hands its path to the clean-up after a container's end.
        configuration = self.runtime_dir / "containers.conf"
        whole.write(configuration, conf.text(self.hooks, self._oci_runtime, conf.gvisor_runtime(self.runtime_dir)))
        self.environment["CONTAINERS_CONF"] = str(configuration)

    async def _start(self) -> None:
        await self._end_leftover()
        self.socket.unlink(missing_ok=True)
        log = self.runtime_dir / "podman.log"
        # Started on the event loop's own thread: the death signal comes when the *thread* that forked ends. It does not
        # reach the second process of Podman's first start after a boot: _end_leftover finds that one at our next start.
        with log.open("wb") as output:
            command = ["setpriv", "--pdeathsig", "TERM", "podman", "system", "service", "--time=0",
                       f"unix://{self.socket}"]
            self._process = subprocess.Popen(
                [*self._scope(), *command],
                env=self.environment, cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        for _ in range(START_SECONDS * 100):
            if self._answers():
                return
            if not self._alive():
                break
            await asyncio.sleep(0.01)
        await self.close()
        said = log.read_text(errors="replace").strip()[-2000:]
        raise Unavailable(f"Podman's API service did not start; try `podman info`. It said: {said or 'nothing'}")

    def _scope(self) -> list[str]:
        """Beside the containers: what serves their network is then not reached by `systemctl kill` of our own unit."""
        return conf.scope(f"agentcontainer-podman-{secrets.token_hex(4)}") if self._scoped else []

    async def _end_leftover(self) -> None:
        """A service that outlived a killed server has our socket's path in its command line and still listens there."""
        pid = listener(self.socket)
        if pid is None or f"unix://{self.socket}" not in process.command_line(pid):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.exited(pid), 5)
                return

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        return listener(self.socket) is not None


def listener(path: Path) -> int | None:
    """The process that listens on a socket, as the kernel recorded it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid
