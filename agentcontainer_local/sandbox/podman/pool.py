"""A pool of slots that wait for a task with Pi running. A task's first run that can use one starts at once."""

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentcontainer_local.pi import handover
from agentcontainer_local.process import failpoints
from agentcontainer_local.process.beside import beside
from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.sandbox.backend import Guest, ImageChoice, RunSpec
from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.podman import Image, Sandbox, sockets, writable_images
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.sandbox.podman.slots import Slot, Slots, make_directory
from agentcontainer_local.sandbox.podman.starts import Started, Starter, write_launch
from agentcontainer_local.sandbox.podman.waiting import Door

log = logging.getLogger(__name__)

QUIET_SECONDS = 1  # after the start of a task, before the pool is filled: starting tasks have priority
LOOK_SECONDS = 5
READY_SECONDS = 60
FAILED_SECONDS = 60  # pause after a failure
# available share of the machine's memory: below LOW, waiting slots are removed; above ENOUGH, the pool is filled
LOW_MEMORY, ENOUGH_MEMORY = 0.10, 0.15
MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class Kind:
    """The properties of a waiting slot that can't be changed. A task can only take a slot of its own kind."""

    image: ImageChoice
    image_id: str
    limits: Limits
    isolation: str
    internet: bool
    launch: str  # JSON, see pi.handover

    def spec(self) -> RunSpec:
        """A run without a task."""
        launch = self.launch.encode()
        return RunSpec("", "", 0, self.image, lambda _: launch, self.limits, self.isolation, self.internet, first=True)


@dataclass(eq=False)
class Waiting:
    kind: Kind
    slot: Slot
    door: Door
    started: Started
    ended: asyncio.Future[None]
    stack: AsyncExitStack  # resources of this process, closed with the slot

    def is_of_use(self) -> bool:
        """Whether its agent is up and can be reached: logind may have removed the runtime directory."""
        return not self.ended.done() and (self.slot.directory / sockets.HOST).exists()


class Pool:
    """At most `size` slots wait. `run` fills the pool."""

    def __init__(self, size: int, sandbox: Sandbox, slots: Slots, starter: Starter, prepared: Prepared):
        self._size = size
        self._sandbox = sandbox
        self._slots = slots
        self._starter = starter
        self._prepared = prepared
        self._recent: deque[Kind] = deque(maxlen=2 * size)
        self._standard: dict[str, Image] = {}  # by name
        self.waiting: list[Waiting] = []
        self._changed = asyncio.Event()
        self._starting = 0
        self._started_at = 0.0
        self._fills_again_at = 0.0
        self.slot_ids: set[str] = set()  # slots that no task has yet
        self.memory = MEMORY

    async def run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self._look()
            except (SandboxError, OSError) as error:
                log.warning("no container could be made ready for the next task: %s", error)
                self._fills_again_at = time.monotonic() + FAILED_SECONDS
            except Exception:  # tasks start without the pool
                log.exception("no container could be made ready for the next task")
                self._fills_again_at = time.monotonic() + FAILED_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS if self._recent or self.waiting else None)

    async def close(self) -> None:
        """Removes the waiting slots. `run` must have ended."""
        await asyncio.gather(*(self._discard(one) for one in list(self.waiting)))

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Marks that a task is starting."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self._started_at = time.monotonic()

    async def take(self, spec: RunSpec) -> tuple[RunSpec, Waiting | None]:
        """For a task without a slot: a waiting slot of its kind, or None. In the returned spec, `launch` is fixed if it
        was called."""
        image = await self._image_of(spec.image) if self._size else None
        if image is None:
            return spec, None
        launch = spec.launch(await writable_images.environment_of(self._sandbox, image))
        spec = replace(spec, launch=lambda _: launch)
        guest = handover.kind(json.loads(launch))
        if guest is None:
            return spec, None
        kind = Kind(spec.image, image.id, spec.limits, spec.isolation, spec.internet, json.dumps(guest, sort_keys=True))
        self.used(kind)
        return spec, await self._of_kind(kind)

    def used(self, kind: Kind) -> None:
        """Records that a task of this kind starts."""
        self._recent.append(kind)
        self._changed.set()

    async def hand_over(self, waiting: Waiting, spec: RunSpec, guest: Guest, stack: AsyncExitStack) -> Started:
        """Gives the slot to the task, for good. Its guest is served while `stack` is open."""
        launch = spec.launch({})
        try:
            failpoints.point("slot.taken")
            write_launch(waiting.slot.directory, launch)  # for a later start of this container, and for the next server
            self._slots.give(waiting.slot, spec.task_id)
            failpoints.point("slot.recorded")
            await stack.enter_async_context(waiting.stack)
            await stack.enter_async_context(sockets.carried(guest.egress, waiting.slot.directory))
            waiting.door.bind(guest.app, launch)
            failpoints.point("slot.given")
        except BaseException:
            await to_the_end(self._discard(waiting))
            raise
        self.slot_ids.discard(waiting.slot.id)
        log.info("a waiting container was taken task=%s slot=%s", spec.task_id, waiting.slot.id)
        return waiting.started

    async def _image_of(self, choice: ImageChoice) -> Image | None:
        """The image as it is now. Standard images are asked for once: their name has a hash of their content."""
        name = self._prepared.known(choice)
        if name is None:
            return None
        image = self._standard.get(name) or await self._sandbox.image(name)
        if image is not None and choice.preset is not None and not choice.writable_paths:
            self._standard[name] = image
        return image

    async def _of_kind(self, kind: Kind) -> Waiting | None:
        """Takes a slot of this kind out of the pool. While this waits, other slots may be taken or removed, so each
        round looks at those that are left."""
        while waiting := next((one for one in self.waiting if one.kind == kind and one.is_of_use()), None):
            self.waiting.remove(waiting)
            try:
                if await self._sandbox.network_works(waiting.started.found or {}):
                    return waiting
            except BaseException:
                await to_the_end(self._discard(waiting))
                raise
            await self._discard(waiting)
        return None

    async def _look(self) -> None:
        """Removes slots that are not wanted, and adds those that are missing."""
        wanted = Counter() if self._available() < LOW_MEMORY else self.wanted()
        useless = []
        for waiting in self.waiting:
            if not waiting.is_of_use() or wanted[waiting.kind] == 0:
                useless.append(waiting)
            else:
                wanted[waiting.kind] -= 1
        for waiting in useless:
            if waiting in self.waiting:  # otherwise a task has taken it while another one was removed
                await self._discard(waiting)
        for kind in wanted.elements():
            if not await self._is_room():
                return
            await self._fill(kind)

    def wanted(self) -> Counter[Kind]:
        """The number of slots to keep of each kind, by recent use. At equal use, kinds that already wait come first."""
        used, wanted = Counter(self._recent), Counter[Kind]()
        here = {waiting.kind for waiting in self.waiting}
        for _ in range(self._size if used else 0):
            wanted[max(used, key=lambda kind: (used[kind] / (wanted[kind] + 1), kind in here))] += 1
        return wanted

    async def _is_room(self) -> bool:
        """Waits until no task starts, or memory is short: tasks may start one after another for a long time, and the
        slots that wait must be given up meanwhile."""
        while (wait := self._started_at + QUIET_SECONDS - time.monotonic()) > 0 or self._starting:
            if self._available() < LOW_MEMORY:
                return False
            await asyncio.sleep(max(wait, 0.1))
        return self._available() >= ENOUGH_MEMORY and time.monotonic() >= self._fills_again_at

    async def _fill(self, kind: Kind) -> None:
        name = self._prepared.known(kind.image)
        if name is None or await self._sandbox.image_id(name) != kind.image_id:
            self._recent = deque((one for one in self._recent if one != kind), self._recent.maxlen)
            return
        slot = await self._slots.unclaimed()
        self.slot_ids.add(slot.id)
        try:
            self.waiting.append(await self._made(kind, slot))
        except BaseException:
            await to_the_end(self._remove(slot))
            raise
        failpoints.point("slot.waiting")
        log.info("a container waits for the next task slot=%s", slot.id)

    async def _made(self, kind: Kind, slot: Slot) -> Waiting:
        make_directory(slot)
        failpoints.point("slot.filling")
        door = Door()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(sockets.served(Guest(door, None), slot.directory))
            started = await self._starter.start(kind.spec(), slot, new=True)
            ended = await stack.enter_async_context(beside(self._sandbox.exited(started.pid), f"end of {slot.name}"))
            await _until_ready(door, ended)
            started = replace(started, found=await self._sandbox.inspect(slot.name))
            return Waiting(kind, slot, door, started, ended, stack.pop_all())

    async def _discard(self, waiting: Waiting) -> None:
        if waiting in self.waiting:
            self.waiting.remove(waiting)
        await waiting.stack.aclose()
        await self._remove(waiting.slot)

    async def _remove(self, slot: Slot) -> None:
        """Removes the slot. The next server removes what can't be removed now."""
        try:
            await self._slots.remove_container(slot)
            if self._slots.task_of(slot.id) is None:
                await self._slots.remove_volumes(slot)
        except SandboxError as error:
            log.warning("a slot could not be removed slot=%s: %s", slot.id, error)
        self.slot_ids.discard(slot.id)

    def _available(self) -> float:
        """The available share of the machine's memory."""
        lines = dict(line.split(":", 1) for line in self.memory.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) / int(lines["MemTotal"].split()[0])


async def _until_ready(door: Door, ended: asyncio.Future[None]) -> None:
    ready = asyncio.ensure_future(door.ready.wait())
    try:
        waited: set[asyncio.Future[Any]] = {ready, ended}
        await asyncio.wait(waited, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
    if not door.ready.is_set():
        raise SandboxError("its Pi has ended" if ended.done() else f"its Pi was not up within {READY_SECONDS} s")
