"""Podman as a place where runs live: each task has a slot, a container with two volumes, under the server's account."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcontainer_local import resource_limits
from agentcontainer_local.process import disk_space, failpoints, runtime_directory
from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.sandbox import backend, podman
from agentcontainer_local.sandbox.backend import Broken, Capabilities, Exit, Guest, ImageChoice, RunSpec, Say, Start
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.sandbox.podman import Sandbox, enforcement, exits, locks, proof, sockets, uids
from agentcontainer_local.sandbox.podman.exports import PodmanExports
from agentcontainer_local.sandbox.podman.names import SLOT_LABEL, name_of
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.sandbox.podman.remembered import Remembered
from agentcontainer_local.sandbox.podman.slots import Slots, make_directory
from agentcontainer_local.sandbox.podman.starts import Started, Starter
from agentcontainer_local.schemas import WallCheck
from agentcontainer_local.settings import Settings

log = logging.getLogger(__name__)

NETWORK_GONE = "The process that served its network has ended."


@dataclass(frozen=True)
class Found(backend.Found):
    container: podman.Found


@dataclass(eq=False)
class Running:
    """See backend.Handle."""

    start: Start
    image: str | None
    enforced: Mapping[str, Any] | None
    exited: asyncio.Future[Exit]
    broken: asyncio.Future[Broken]


class PodmanBackend(PodmanExports):
    """See backend.Backend."""

    def __init__(self, sandbox: Sandbox, remembered: Remembered, directory: Path, runtime: Path):
        """`directory`: for the sockets of runs, a short path. `runtime`: what containers mount."""
        super().__init__(sandbox.store_id, remembered, sandbox.environment)
        gvisor = shutil.which(resource_limits.RUNSC) is not None
        self.capabilities = Capabilities(
            name="podman",
            isolation=resource_limits.LEVELS if gvisor else (resource_limits.CONTAINER,),
            internet=True,
            survives_server=True,
            survives_reboot=True,
        )
        self._sandbox = sandbox
        self._runtime = runtime
        self._slots = Slots(sandbox, remembered, directory)
        self._prepared = Prepared(sandbox, runtime)
        self._stopped: set[str] = set()  # containers that were ended from here, since their last start
        self._starter = Starter(sandbox, self._prepared, runtime)

    async def ready(self) -> None:
        await self._sandbox.ready()

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        await self._prepared.ensure(image, say)

    @contextlib.asynccontextmanager
    async def running(self, spec: RunSpec, guest: Guest, found: backend.Found | None = None) -> AsyncIterator[Running]:
        alive = None if found is None else _ours(found)
        async with contextlib.AsyncExitStack() as stack:
            with _none_of_the_tasks_fault():
                new = self._slots.of(spec.task_id) is None
                slot = await self._slots.for_task(spec.task_id)
                name, directory = slot.name, slot.directory
                make_directory(slot)
                await stack.enter_async_context(sockets.served(guest, directory))
                failpoints.point("door.opened")
                self._stopped.discard(name)
                started = _adopted(alive) if alive else await self._starter.start(spec, slot, new)
                empty = alive is None and spec.first
                watching = self._sandbox.watching(name, started.pid, enforcement.ceiling(spec.limits), empty)
                broken = await stack.enter_async_context(watching)
                following = exits.followed(self._sandbox, name, started.pid, directory, lambda: name in self._stopped)
                if alive and not await self._sandbox.network_serves(alive.container):
                    following.close()
                    following = _stopped(NETWORK_GONE)
                exited = await stack.enter_async_context(_beside(following, f"end of {name}"))
            yield Running(started.start, started.image, started.enforced, exited, _in_our_units(broken))

    async def found(self) -> list[Found]:
        return [
            Found(self._task_of(container), container.state == "running", container)
            for container in await self._sandbox.found()
        ]

    async def last_exit(self, task_id: str) -> Exit:
        slot = self._slots.of(task_id)
        return Exit(died=False) if slot is None else await exits.unseen(self._sandbox, slot.name)

    async def stop(self, task_id: str) -> None:
        if (slot := self._slots.of(task_id)) is not None:
            self._stopped.add(slot.name)
            await self._sandbox.stop(slot.name, 0)

    async def kill(self, task_id: str) -> None:
        """As `stop`, but not noted as such: so it counts as a death."""
        if (slot := self._slots.of(task_id)) is not None:
            await self._sandbox.stop(slot.name, 0)

    async def remove(self, task_id: str) -> None:
        if (slot := self._slots.of(task_id)) is not None:
            self._stopped.add(slot.name)
            await self._slots.remove_container(slot)

    async def forget(self, task_id: str) -> None:
        await self._slots.forget(task_id)

    async def discard(self, found: backend.Found) -> None:
        container = _ours(found).container
        log.warning("removing a container that belongs to no task of this store container=%s", container.name)
        await self._sandbox.remove(container.name)

    async def kept_bytes(self, task_id: str) -> int:
        if (slot := self._slots.of(task_id)) is None:
            return 0
        try:
            return await self._sandbox.disk_bytes(slot.name)
        except OSError as error:
            raise SandboxError(f"What is kept could not be measured: {error}") from error

    def disk(self) -> Disk | None:
        """Where Podman of this account keeps images and volumes."""
        with contextlib.suppress(FileNotFoundError):
            return disk_space.of(Path.home() / ".local/share/containers")
        return None

    def why_silent(self) -> str | None:
        return locks.holder(locks.storage())

    async def prove(self, settings: Settings, say: Say) -> list[WallCheck]:
        return await proof.prove(self._sandbox, self._runtime, settings, say)

    async def close(self) -> None:
        await self._prepared.close()

    def _task_of(self, container: podman.Found) -> str | None:
        slot_id = container.labels.get(SLOT_LABEL)
        return slot_id and self._slots.task_of(slot_id)


@contextlib.asynccontextmanager
async def open(
    settings: Settings, store_id: str, remembered: Remembered, runtime: Path
) -> AsyncIterator[PodmanBackend]:
    """Podman need not answer yet: until it does, every call says Unavailable. `runtime`: what containers mount."""
    uids.hold(remembered, store_id)
    directory = runtime_directory.of_store(store_id)
    if any(slot.name != name_of(store_id, slot.id) for slot in remembered.slots()):  # an earlier version named them
        runtime_directory.inherit(store_id, settings.data)
    socket, oci_runtime = settings.podman_socket, settings.oci_runtime
    async with podman.open(directory, store_id, socket, oci_runtime, patient=True) as sandbox:
        opened = PodmanBackend(sandbox, remembered, directory, runtime)
        try:
            yield opened
        finally:
            await opened.close()


@contextlib.contextmanager
def _none_of_the_tasks_fault() -> Iterator[None]:
    """What the runtime directory or the disk refuses, no task could have caused."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"A container could not be started: {error}") from error


def _ours(found: backend.Found) -> Found:
    if not isinstance(found, Found):
        raise TypeError("this backend has not found it")
    return found


def _adopted(found: Found) -> Started:
    pid = found.container.pid
    assert pid is not None, "a container that is alive has a process"
    return Started(pid, Start.ADOPTED)


async def _stopped(why: str) -> Exit:
    log.warning("%s The container is started anew.", why)
    return Exit(died=False, last_words=why)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, Exit], name: str) -> AsyncIterator[asyncio.Task[Exit]]:
    """While open, it is at work."""
    working = asyncio.create_task(work, name=name)
    try:
        yield working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _in_our_units(found: asyncio.Future[podman.Broken]) -> asyncio.Future[Broken]:
    told = asyncio.get_running_loop().create_future()

    def tell(done: asyncio.Future[podman.Broken]) -> None:
        if done.cancelled():
            told.cancel()
        else:
            told.set_result(enforcement.broken(done.result()))

    found.add_done_callback(tell)
    return told
