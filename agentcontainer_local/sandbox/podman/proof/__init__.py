"""Tests each promise of isolation: starts real containers that try to break it."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentcontainer_local import resource_limits
from agentcontainer_local.guest_contract import MOUNT
from agentcontainer_local.pi import bundle
from agentcontainer_local.process import file_lock, runtime_directory
from agentcontainer_local.resource_limits import MB
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.backend import Say
from agentcontainer_local.sandbox.podman import (
    Bind,
    Ceiling,
    ContainerSpec,
    Sandbox,
    SandboxError,
    Ulimits,
    standard_images,
)
from agentcontainer_local.schemas import WallCheck
from agentcontainer_local.settings import Settings

HERE = Path(__file__).parent
NODE = f"{MOUNT}/libexec/node"
UID = 19_990  # not used by any task
NAME = "agentcontainer-proof-"
CANARY = "AGENTCONTAINER_DOCTOR_CANARY"
SECONDS = 30
MAX_OUTPUT_BYTES = 64 * 1024
GROWS = "const held = []; setInterval(() => held.length < 40 && held.push(Buffer.alloc(2e7, 1)), 20)"
# Containers that exceed a limit: (promise, script, ceiling). In each, another process outlives the one that does it.
MANY = 4000, 4096 * MB
HOGS: tuple[tuple[str, str, Ceiling], ...] = (
    ("memory", f"{NODE} -e '{GROWS}'; exec sleep {SECONDS}", Ceiling(256 * MB, *MANY)),
    ("processes", "(while :; do sleep 9 & done) 2>/dev/null & wait; exec sleep 9", Ceiling(4096 * MB, 100, 4096 * MB)),
    ("disk", "while :; do i=$((i+1)); head -c 9999999 /dev/zero > /tmp/f$i; done", Ceiling(4096 * MB, 4000, 150 * MB)),
)
BUSY_SECONDS = 2
BUSY = (
    f'for i in 1 2; do (while :; do :; done) & pids="$pids $!"; done; sleep {BUSY_SECONDS}; kill $pids; wait; times >&2'
)
METADATA_AND_LOCAL = [
    (address, 80)
    for address in ("169.254.169.254", "169.254.170.2", "10.0.0.1", "172.16.0.1", "192.168.0.1", "192.168.1.1")
]


async def prove(sandbox: Sandbox, runtime: Path, settings: Settings, say: Say) -> list[WallCheck]:
    """Runs all tests and cleans up. Takes about ten seconds, or minutes if no standard image was built yet."""
    attempt = _Attempt(sandbox, await _image(sandbox, say), runtime, settings)
    # The kernel counts all processes of a user together, so two tests at once would disturb each other.
    async with file_lock.alone("proof", lambda: say("Waiting for another proof to end")):
        await attempt.clear()
        with _planted_secret() as attempt.secret:
            return await attempt.everything(say)


async def alone(settings: Settings, say: Say) -> list[WallCheck]:
    """Starts a Podman service for the tests."""
    runtime = await asyncio.to_thread(bundle.prepare, settings.cache, say)
    with runtime_directory.for_a_while() as folder:
        async with podman.open(Path(folder), "doctor", oci_runtime=settings.oci_runtime) as sandbox:
            return await prove(sandbox, runtime, settings, say)


async def _image(sandbox: Sandbox, say: Say) -> str:
    """The smallest standard image on this machine; if there is none, builds the first one."""
    there = [image for image in await sandbox.images(standard_images.LABEL) if image.names]
    if there:
        return min(there, key=lambda image: image.size_bytes).names[0]
    return await standard_images.ensure(sandbox, "coding", say)


@contextlib.contextmanager
def _planted_secret() -> Iterator[str]:
    """Puts a secret into this process's environment, where provider keys may be."""
    os.environ[CANARY] = secret = f"canary-{secrets.token_hex(12)}"
    try:
        yield secret
    finally:
        del os.environ[CANARY]


@dataclass
class _Attempt:
    sandbox: Sandbox
    image: str
    runtime: Path
    settings: Settings
    secret: str = field(default="", repr=False)

    async def clear(self) -> None:
        """Removes the containers of a test that was killed. Only one test runs at a time."""
        for left in await self.sandbox.found():
            if left.name.startswith(NAME):
                await self.sandbox.remove(left.id)

    async def everything(self, say: Say) -> list[WallCheck]:
        say("Testing the security promises inside a container")
        promises = await self.from_inside("none")
        say("Testing a container with internet access")
        promises += await self.internet()
        for name, script, ceiling in HOGS:
            say(f"Taking more than the limit: {name}")
            promises.append(await self.hog(name, script, ceiling))
        say("Taking more than the limit: processors")
        promises += [await self.processors(), await self.open_files()]
        say("Trying gVisor")
        return [*promises, await self.gvisor()]

    async def from_inside(self, network: str) -> list[WallCheck]:
        async with _host_listens() as host:
            asked = {
                "network": network,
                "secret": self.secret,
                "host": host,
                "local": METADATA_AND_LOCAL,
                "files": [
                    str(self.settings.data / "secret.key"),
                    str(self.settings.data / "agentcontainer.db"),
                    os.environ.get("XDG_RUNTIME_DIR", "/run/user"),
                    str(Path.home() / ".local/share/containers"),
                ],
            }
            # The container has the usual runtime mount but no door; the probe is mounted beside it.
            spec = self._spec((NODE, "/mnt/probe.mjs", json.dumps(asked)), network=network)
            async with self._started(spec) as (container, pid):
                promises = [_uids(pid)] if network == "none" else []
                await asyncio.wait_for(self.sandbox.exited(pid), SECONDS)
                said = await self.sandbox.logs_tail(container, MAX_OUTPUT_BYTES)
        return [*promises, *_read(said)]

    async def internet(self) -> list[WallCheck]:
        try:
            return await self.from_inside("internet")
        except SandboxError as error:
            detail = f"internetAccess: true is refused: {error}"
            return [WallCheck(name="internet", status="unavailable", detail=detail)]

    async def hog(self, name: str, script: str, ceiling: Ceiling) -> WallCheck:
        most = Ulimits(data_bytes=(ceiling.memory_bytes + 4096 * MB), file_bytes=ceiling.disk_bytes)
        spec = self._spec(
            ("/bin/sh", "-c", script), ulimits=most, memory_bytes=ceiling.memory_bytes, pids=ceiling.processes + 64
        )
        watching = self.sandbox.watching
        async with self._started(spec) as (container, pid), watching(container, pid, ceiling, empty=True) as broken:
            exited = asyncio.ensure_future(self.sandbox.exited(pid))
            try:
                ends: set[asyncio.Future[Any]] = {broken, exited}
                await asyncio.wait(ends, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                exited.cancel()
            by = self.kept_by[name]
            if not broken.done():
                ended = (
                    "the end was not reported"
                    if exited.done() and not exited.cancelled()
                    else f"not within {SECONDS} s"
                )
                return WallCheck(name=f"limit of {name}", status="not_enforced", detail=f"not reported: {ended}")
            found = broken.result()
            unit = 1 if name == "processes" else MB
            used = "more" if found.used is None else found.used // unit
            detail = f"by {by}: reported at {used} of {found.allowed // unit}{'' if unit == 1 else ' MB'}"
            return WallCheck(name=f"limit of {name}", status="enforced", detail=detail)

    async def processors(self) -> WallCheck:
        """Two busy processes must get half a processor with a cgroup, and one whole processor with affinity."""
        async with self._started(self._spec(("/bin/sh", "-c", BUSY), cpus=0.5)) as (container, pid):
            by = self.kept_by["cpus"]
            await asyncio.wait_for(self.sandbox.exited(pid), SECONDS)
            said = await self.sandbox.logs_tail(container)
        used = sum(60 * int(m) + float(s) for m, s in re.findall(r"(\d+)m([\d.]+)s", said)) / BUSY_SECONDS
        whole = "" if by == "cgroup" else "; a limit by affinity is rounded up to whole processors"
        detail = f"by {by}: {used:.1f} used of 0.5{whole}"
        return _promise("limit of processors", 0 < used <= (0.5 if by == "cgroup" else 1) * 1.3, detail)

    async def open_files(self) -> WallCheck:
        spec = self._spec(("/bin/sh", "-c", "ulimit -n >&2"), ulimits=Ulimits(open_files=300))
        async with self._started(spec) as (container, pid):
            await asyncio.wait_for(self.sandbox.exited(pid), SECONDS)
            said = await self.sandbox.logs_tail(container)
        return _promise("limit of open files", said == "300", f"by ulimit: {said} of 300")

    async def gvisor(self) -> WallCheck:
        if not shutil.which(resource_limits.RUNSC):
            detail = "is not installed; `isolation: gvisor` is refused"
            return WallCheck(name="gVisor", status="unavailable", detail=detail)
        spec = self._spec(("/bin/sh", "-c", "uname -r >&2"), isolation="gvisor")
        try:
            async with self._started(spec) as (container, pid):
                await asyncio.wait_for(self.sandbox.exited(pid), SECONDS)
                said = await self.sandbox.logs_tail(container)
        except SandboxError as error:
            return WallCheck(name="gVisor", status="not_enforced", detail=str(error))
        return _promise("gVisor", said != os.uname().release, f"the kernel inside calls itself {said}")

    def _spec(self, command: tuple[str, ...], **more: Any) -> ContainerSpec:
        binds = Bind(str(self.runtime), MOUNT), Bind(str(HERE), "/mnt")
        name = f"{NAME}{secrets.token_hex(4)}"
        return ContainerSpec(
            name, self.image, command, UID, binds=binds, env={"HOME": "/tmp", "NODE_OPTIONS": ""}, log_bytes=MB, **more
        )

    @contextlib.asynccontextmanager
    async def _started(self, spec: ContainerSpec) -> AsyncIterator[tuple[str, int]]:
        created = await self.sandbox.create(spec)
        self.kept_by = created.limits
        try:
            yield created.id, await self.sandbox.start(created.id)
        finally:
            await self.sandbox.remove(created.id)


@contextlib.asynccontextmanager
async def _host_listens() -> AsyncIterator[list[tuple[str, int]]]:
    """Listens on the host's loopback and on its own address, and returns the addresses to try from inside."""
    async with contextlib.AsyncExitStack() as stack:
        targets = []
        for address in filter(None, ("127.0.0.1", _own_address())):
            server = await asyncio.start_server(lambda _, writer: writer.close(), address, 0)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
            # and the addresses that user networks have for the host
            targets += [(address, port), ("10.99.99.2", port), ("10.0.2.2", port), ("169.254.1.2", port)]
        yield targets


def _own_address() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent, contextlib.suppress(OSError):
        unsent.connect(("192.0.2.1", 9))  # sends nothing; it only selects the source address
        return str(unsent.getsockname()[0])
    return None


def _uids(pid: int) -> WallCheck:
    owner = os.stat(f"/proc/{pid}")
    apart = owner.st_uid not in (0, os.getuid()) and owner.st_gid not in (0, os.getgid())
    detail = f"uid {owner.st_uid}, gid {owner.st_gid}; ours {os.getuid()}"
    return _promise("a user of its own on the host", apart, detail)


def _read(said: str) -> list[WallCheck]:
    last = said.strip().splitlines()[-1:] or ["nothing"]
    try:
        seen = json.loads(last[0])
    except ValueError:
        raise SandboxError(f"the probe failed: {said[-500:]}") from None
    return [_promise(name, found["holds"], found["said"]) for name, found in seen.items()]


def _promise(name: str, holds: bool | None, detail: str) -> WallCheck:
    status = "unavailable" if holds is None else "enforced" if holds else "not_enforced"
    return WallCheck(name=name, status=status, detail=detail)
