"""The Podman backend: each task has a slot, which is a container with two volumes, in the server's account."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from agentcontainer_local import resource_limits
from agentcontainer_local.process import disk_space, failpoints, runtime_directory
from agentcontainer_local.process.beside import beside
from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.sandbox import backend, podman
from agentcontainer_local.sandbox.backend import Broken, Capabilities, Exit, Guest, ImageChoice, RunSpec, Say, Start
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.sandbox.podman import Sandbox, enforcement, exits, locks, proof, sockets, uids, waiting
from agentcontainer_local.sandbox.podman.exports import PodmanExports
from agentcontainer_local.sandbox.podman.names import SLOT_LABEL, UNCLAIMED, name_of
from agentcontainer_local.sandbox.podman.pool import Pool
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.sandbox.podman.remembered import Remembered
from agentcontainer_local.sandbox.podman.slots import Slot, Slots, make_directory
from agentcontainer_local.sandbox.podman.starts import LAUNCH, Started, Starter
from agentcontainer_local.schemas import WallCheck
from agentcontainer_local.settings import Settings

log = logging.getLogger(__name__)

NETWORK_GONE = "The process that served its network has ended."


@dataclass(frozen=True)
class Found(backend.Found):
    container: podman.Found | None  # None: only volumes exist
    slot_id: str | None


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

    def __init__(self, sandbox: Sandbox, remembered: Remembered, directory: Path, runtime: Path, warm: int):
        """`directory`: a short path for the sockets of runs. `runtime`: the directory that containers mount."""
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
        self._stopped: set[str] = set()  # containers that this server stopped since their last start
        self._starter = Starter(sandbox, self._prepared, runtime)
        self.pool = Pool(warm, sandbox, self._slots, self._starter, self._prepared)

    async def ready(self) -> None:
        await self._sandbox.ready()

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        await self._prepared.ensure(image, say)

    @contextlib.asynccontextmanager
    async def running(self, spec: RunSpec, guest: Guest, found: backend.Found | None = None) -> AsyncIterator[Running]:
        alive = None if found is None else _ours(found)
        async with contextlib.AsyncExitStack() as stack:
            with _faults_of_the_machine():
                slot, started = await self._at_work(spec, guest, alive, stack)
                name, directory = slot.name, slot.directory
                empty = alive is None and spec.first
                ceiling = enforcement.ceiling(spec.limits)
                watching = self._sandbox.watching(name, started.pid, ceiling, empty, started.found)
                broken = await stack.enter_async_context(watching)
                following = exits.followed(self._sandbox, name, started.pid, directory, lambda: name in self._stopped)
                if alive and not await self._sandbox.network_serves(slot.name):
                    following.close()
                    following = _stopped(NETWORK_GONE)
                exited = await stack.enter_async_context(beside(following, f"end of {name}"))
            yield Running(started.start, started.image, started.enforced, exited, _converted(broken))

    async def _at_work(
        self, spec: RunSpec, guest: Guest, alive: Found | None, stack: contextlib.AsyncExitStack
    ) -> tuple[Slot, Started]:
        """The running container. Its guest is served as long as `stack` is open."""
        if alive is not None:
            slot = await self._slots.for_task(spec.task_id)
            await self._serve(guest._replace(app=_launched(guest.app, slot)), slot, stack)
            return slot, _adopted(alive)
        new = self._slots.of(spec.task_id) is None
        with self.pool.starting():
            if new:
                spec, taken = await self.pool.take(spec)
                if taken is not None:
                    return taken.slot, await self.pool.hand_over(taken, spec, guest, stack)
            slot = await self._slots.for_task(spec.task_id)
            await self._serve(guest, slot, stack)
            return slot, await self._starter.start(spec, slot, new)

    async def _serve(self, guest: Guest, slot: Slot, stack: contextlib.AsyncExitStack) -> None:
        make_directory(slot)
        await stack.enter_async_context(sockets.served(guest, slot.directory))
        failpoints.point("door.opened")
        self._stopped.discard(slot.name)

    async def found(self) -> list[Found]:
        """Leaves out slots in this server's pool, which wait for a task. Those of an earlier server are included."""
        containers, volumes = await asyncio.gather(self._sandbox.found(), self._sandbox.volumes())
        found = [
            Found(self._task_of(one.labels), one.state == "running", one, one.labels.get(SLOT_LABEL))
            for one in containers
        ]
        with_container = {one.labels.get(SLOT_LABEL) for one in containers}
        left = {one.labels.get(SLOT_LABEL, ""): one for one in volumes}
        found += [
            Found(None, False, None, slot_id)
            for slot_id in left
            if slot_id.startswith(UNCLAIMED) and slot_id not in with_container and not self._slots.task_of(slot_id)
        ]
        return [one for one in found if one.task_id is not None or one.slot_id not in self.pool.slot_ids]

    async def last_exit(self, task_id: str) -> Exit:
        slot = self._slots.of(task_id)
        return Exit(died=False) if slot is None else await exits.unseen(self._sandbox, slot.name)

    async def stop(self, task_id: str) -> None:
        if (slot := self._slots.of(task_id)) is not None:
            self._stopped.add(slot.name)
            await self._sandbox.stop(slot.name, 0)

    async def kill(self, task_id: str) -> None:
        """Like `stop`, but not recorded as requested, so that it counts as a death."""
        if (slot := self._slots.of(task_id)) is not None:
            await self._sandbox.stop(slot.name, 0)

    async def remove(self, task_id: str) -> None:
        if (slot := self._slots.of(task_id)) is not None:
            self._stopped.add(slot.name)
            await self._slots.remove_container(slot)

    async def forget(self, task_id: str) -> None:
        await self._slots.forget(task_id)

    async def discard(self, found: backend.Found) -> None:
        ours = _ours(found)
        if ours.slot_id is not None and ours.slot_id.startswith(UNCLAIMED):
            await self._slots.discard(ours.slot_id)
        elif ours.container is not None:
            log.warning("removing a container that belongs to no task of this store container=%s", ours.container.name)
            await self._sandbox.remove(ours.container.name)

    async def kept_bytes(self, task_id: str) -> int:
        if (slot := self._slots.of(task_id)) is None:
            return 0
        try:
            return await self._sandbox.disk_bytes(slot.name)
        except OSError as error:
            raise SandboxError(f"What is kept could not be measured: {error}") from error

    def disk(self) -> Disk | None:
        """The disk with this account's images and volumes."""
        with contextlib.suppress(FileNotFoundError):
            return disk_space.of(Path.home() / ".local/share/containers")
        return None

    def why_silent(self) -> str | None:
        return locks.holder(locks.storage())

    async def prove(self, settings: Settings, say: Say) -> list[WallCheck]:
        return await proof.prove(self._sandbox, self._runtime, settings, say)

    async def close(self) -> None:
        await self.pool.close()
        await self._prepared.close()

    def _task_of(self, labels: Mapping[str, str]) -> str | None:
        slot_id = labels.get(SLOT_LABEL)
        return slot_id and self._slots.task_of(slot_id)


@contextlib.asynccontextmanager
async def open(
    settings: Settings, store_id: str, remembered: Remembered, runtime: Path
) -> AsyncIterator[PodmanBackend]:
    """Until Podman answers, every call raises Unavailable. `runtime`: the directory that containers mount."""
    uids.hold(remembered, store_id)
    directory = runtime_directory.of_store(store_id)
    # an earlier version chose the names
    if any(slot.name != name_of(store_id, slot.id) for slot in remembered.slots()):
        runtime_directory.inherit(store_id, settings.data)
    socket, oci_runtime = settings.podman_socket, settings.oci_runtime
    async with podman.open(directory, store_id, socket, oci_runtime, patient=True) as sandbox:
        opened = PodmanBackend(sandbox, remembered, directory, runtime, settings.warm)
        try:
            async with beside(opened.pool.run(), "waiting slots"):
                yield opened
        finally:
            await opened.close()


@contextlib.contextmanager
def _faults_of_the_machine() -> Iterator[None]:
    """Errors of the runtime directory or the disk are not the task's fault."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"A container could not be started: {error}") from error


def _ours(found: backend.Found) -> Found:
    if not isinstance(found, Found):
        raise TypeError("this backend has not found it")
    return found


def _launched(app: ASGIApp, slot: Slot) -> ASGIApp:
    """The app for an adopted guest. The guest may still wait for its task, if the earlier server ended before it handed
    it over."""
    with contextlib.suppress(FileNotFoundError):
        return waiting.bound(app, (slot.directory / LAUNCH).read_bytes())
    return app


def _adopted(found: Found) -> Started:
    assert found.container is not None and found.container.pid is not None, "a live container has a process"
    return Started(found.container.pid, Start.ADOPTED)


async def _stopped(why: str) -> Exit:
    log.warning("%s The container is restarted.", why)
    return Exit(died=False, last_words=why)


def _converted(found: asyncio.Future[podman.Broken]) -> asyncio.Future[Broken]:
    told = asyncio.get_running_loop().create_future()

    def tell(done: asyncio.Future[podman.Broken]) -> None:
        if done.cancelled():
            told.cancel()
        else:
            told.set_result(enforcement.broken(done.result()))

    found.add_done_callback(tell)
    return told
