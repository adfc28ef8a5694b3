"""The node program: executes one run, from the host's order until its files are at the host. Root in the job's user
namespace."""

import asyncio
import base64
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from agentcontainer_local.node import images
from agentcontainer_local.node.job import SEEN_AT, home, see_folder
from agentcontainer_local.node.job import bundle as node_bundle
from agentcontainer_local.node.link import Link, Refused
from agentcontainer_local.node.snapshots import Snapshot
from agentcontainer_local.pi import bundle
from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.sandbox.backend import Broken, Exit, Guest, Handle, ImageChoice, RunSpec
from agentcontainer_local.sandbox.errors import ImageMissing, SandboxError, Unavailable
from agentcontainer_local.sandbox.placed import wire
from agentcontainer_local.sandbox.placed.checkpoints import PARTS
from agentcontainer_local.sandbox.placed.wire import Closed, Lines, Message
from agentcontainer_local.sandbox.podman import backend as podman
from agentcontainer_local.sandbox.podman.backend import PodmanBackend
from agentcontainer_local.sandbox.podman.names import volumes_of
from agentcontainer_local.settings import Settings

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY_SECONDS = 0.5  # pause before another try to reach the host
PIECE_BYTES = 1024**2


class Slot(NamedTuple):
    id: str
    name: str
    uid: int | None


class Remembered:
    """See podman.remembered. It has only the job's own task."""

    def __init__(self) -> None:
        self._slots: dict[str, Slot] = {}

    def slot_of(self, task_id: str) -> Slot | None:
        return self._slots.get(task_id)

    def task_of(self, slot_id: str) -> str | None:
        return next((task_id for task_id, slot in self._slots.items() if slot.id == slot_id), None)

    def put(self, task_id: str, slot_id: str, name: str, uid: int) -> None:
        self._slots[task_id] = Slot(slot_id, name, uid)

    def forget(self, task_id: str) -> None:
        self._slots.pop(task_id, None)

    def slots(self) -> Iterable[Slot]:
        return list(self._slots.values())


@dataclass
class Told:
    """The events that happened here, for a host that has not received all of them, and the host's orders."""

    events: list[Message] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    measure: asyncio.Event = field(default_factory=asyncio.Event)
    fate: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    launches: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    spec: asyncio.Future[Message] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    lines: Lines | None = None
    heard_at: float = field(default_factory=time.monotonic)

    async def say(self, message: Message) -> None:
        """Sends the message now, and again after each reconnection."""
        if message["type"] not in ("launch", "measured"):
            self.events.append(message)
        if self.lines is not None:
            with contextlib.suppress(Closed):
                await self.lines.write(message)

    def decide(self, keep: bool) -> None:
        """Decides what happens to the files after the stop: `keep` sends them to the host; otherwise they are
        removed."""
        if not self.fate.done():
            self.fate.set_result(keep)
        self.stop.set()


async def main(job: str, address: str) -> int:
    """Runs the program and returns its exit code. `job`: the name from the scheduler's script."""
    _refuse_without_own_processes()
    see_folder()
    link, told = Link(address, job, node_bundle()), Told()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.decide, True)
    runtime = await asyncio.to_thread(bundle.prepare, home() / "runtime", log.info)
    following = asyncio.create_task(_follow_host(link, told, runtime.name))
    try:
        ended = asyncio.create_task(told.stop.wait())
        first: set[asyncio.Future[Any]] = {told.spec, ended, following}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if told.spec.done() and not told.stop.is_set():
            await _run(link, told, told.spec.result(), runtime)
        ended.cancel()
        await told.say({"type": "over"})
        return 0
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _refuse_without_own_processes() -> None:
    """Exits if the job has no PID namespace, because processes of a killed job would continue."""
    if os.getppid() != 1:  # catatonit is the first process in the job's namespace
        raise SystemExit(
            "This job has no PID namespace of its own, so its container could outlive it. No container was started."
            " Start jobs with `agentcontainer node run`."
        )


async def _follow_host(link: Link, told: Told, runtime: str) -> None:
    """Keeps the control connection open, and reconnects when it breaks."""
    while True:
        try:
            lines, answer = await link.asked("control", runtime=runtime, events=told.events)
        except Refused as refusal:
            if refusal.code in (wire.GONE, wire.NOT_YOURS, wire.VERSIONS):
                log.error("the host refuses this run: %s", refusal)
                return told.decide(keep=refusal.code == wire.GONE)  # the task may still exist
        except OSError:
            pass
        else:
            told.lines, told.heard_at = lines, time.monotonic()
            if not told.spec.done():
                told.spec.set_result(answer["spec"])
            link.keep_ready()
            with contextlib.suppress(Closed, TimeoutError):
                await _listen(lines, told)
            told.lines = None
            lines.close()
            link.forget_ready()
        await asyncio.sleep(RETRY_SECONDS)


async def _listen(lines: Lines, told: Told) -> None:
    pinging = asyncio.create_task(lines.ping())
    try:
        while True:
            message = await lines.read(wire.SILENT_SECONDS)
            told.heard_at = time.monotonic()
            match message["type"]:
                case "stop":
                    told.stop.set()
                case "measure":
                    told.measure.set()
                case "decide":
                    told.decide(message["keep"])
                case "launch":
                    told.launches.put_nowait(base64.b64decode(message["document"]))
    finally:
        pinging.cancel()


async def _run(link: Link, told: Told, document: Message, runtime: Path) -> None:
    task_id = document["task"]
    settings = Settings(data=SEEN_AT / "data", cache=home() / "runtime", warm=0)
    remembered = Remembered()
    try:
        await _unless_stopped(told, _image(link, document))
        async with podman.open(settings, f"job_{document['run']}", remembered, runtime) as backend:
            await _unless_stopped(told, _restored(link, backend, task_id, document["restore"]))
            spec = await _unless_stopped(told, _spec(told, document))
            async with backend.running(spec, _guest(link, document)) as handle:
                await told.say(_started(handle, document))
                beside = [
                    asyncio.create_task(_copied_now_and_then(link, remembered, document)),
                    asyncio.create_task(_measured_when_asked(told, backend, task_id)),
                ]
                try:
                    await _until_the_end(link, told, backend, task_id, handle, document)
                finally:
                    for task in beside:
                        task.cancel()
                    await asyncio.gather(*beside, return_exceptions=True)
            await backend.stop(task_id)
            await told.say({"type": "at_rest"})
            if await told.fate:
                await _brought_home(link, backend, task_id)
            await backend.forget(task_id)
    except Stopped:
        log.info("the run was stopped before it began")
    except (SandboxError, OSError, RuntimeError) as error:
        log.error("the run could not be started, or not be ended in order: %s", error)
        await told.say({"type": "failed", "kind": _kind(error), "message": str(error)})


class Stopped(Exception):
    """Before the run has begun."""


async def _unless_stopped(told: Told, work: Coroutine[Any, Any, Result]) -> Result:
    working, stop = asyncio.ensure_future(work), asyncio.ensure_future(told.stop.wait())
    await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not working.done():
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        raise Stopped
    return await working


def _kind(error: Exception) -> str:
    """Whose fault it is: the node's, so that another one is tried, or the run's."""
    if isinstance(error, ImageMissing):
        return "image"
    own = isinstance(error, Unavailable) or not isinstance(error, SandboxError)
    return "node" if own else "sandbox"


async def _image(link: Link, document: Message) -> None:
    image = document["image"]
    if image is None:
        raise ImageMissing("the host has no image for this run")
    fetch = link.fetched("image")
    store = await images.there(home() / "images", image["id"], fetch)
    images.swept(home() / "images")
    (SEEN_AT / "storage.conf").write_text(images.storage_conf(SEEN_AT, store))


async def _spec(told: Told, document: Message) -> RunSpec:
    await told.say({"type": "launch"})
    launch = await told.launches.get()
    return RunSpec(
        task_id=document["task"],
        run_id=document["run"],
        number=document["number"],
        image=ImageChoice(None, document["image"]["name"]),
        launch=lambda env: launch,  # the host knows the image's variables
        limits=Limits(**document["limits"]),
        isolation=document["isolation"],
        internet=document["internet"],
        first=not document["restore"],
    )


def _guest(link: Link, document: Message) -> Guest:
    async def door(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await link.carry(reader, writer, "door")

    async def egress(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await link.carry(reader, writer, "egress")

    return Guest(_nothing, egress if document["egress"] else None, door)


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the host answers the guest")


def _started(handle: Handle, document: Message) -> Message:
    start = "remade" if document["restore"] else handle.start.value
    enforced = None if handle.enforced is None else dict(handle.enforced)
    return {"type": "started", "start": start, "image": handle.image, "enforced": enforced}


async def _until_the_end(
    link: Link, told: Told, backend: PodmanBackend, task_id: str, handle: Handle, document: Message
) -> None:
    """Waits for the end of the run, or for an order to end it from the host, the scheduler or this program."""
    stop = asyncio.ensure_future(told.stop.wait())
    away = asyncio.create_task(_host_away(told, document))
    waiting: set[asyncio.Future[Any]] = {handle.exited, handle.broken, stop, away}
    while not stop.done():
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        waiting -= done
        if handle.exited in done:
            await told.say({"type": "exited", **_exit(handle.exited)})
            away.cancel()
        if handle.broken in done and not handle.broken.cancelled():
            broken: Broken = handle.broken.result()
            report = {"limit": broken.limit, "used": broken.used, "allowed": broken.allowed}
            await told.say({"type": "broken", **report})
        if away in done and not away.cancelled():
            log.warning("the host has been away for too long, and this run has a way out: it is ended")
            told.decide(True)
            await stop
    away.cancel()


def _exit(future: asyncio.Future[Exit]) -> dict[str, Any]:
    if future.exception() is not None:
        return {"died": False, "last_words": str(future.exception())}
    exit = future.result()
    return {"died": exit.died, "last_words": exit.last_words}


async def _host_away(told: Told, document: Message) -> None:
    """Returns when the host has been silent for so long that it may have started the run elsewhere. Never returns for a
    run without internet access, which can do no harm."""
    if not document["internet"] or document["lost_seconds"] is None:
        await asyncio.get_running_loop().create_future()
    while (left := told.heard_at + document["lost_seconds"] - time.monotonic()) > 0:
        await asyncio.sleep(left)


# Files


async def _measured_when_asked(told: Told, backend: PodmanBackend, task_id: str) -> None:
    while True:
        await told.measure.wait()
        told.measure.clear()
        with contextlib.suppress(SandboxError):
            await told.say({"type": "measured", "bytes": await backend.kept_bytes(task_id)})


async def _restored(link: Link, backend: PodmanBackend, task_id: str, parts: list[str]) -> None:
    for part in parts:
        read, write = os.pipe()
        with os.fdopen(read, "rb") as archive:
            importing = asyncio.create_task(asyncio.to_thread(backend.import_, task_id, part, archive))
            await _into(write, link.fetched("restore", part=part))
            await importing


async def _into(descriptor: int, source: AsyncIterator[bytes]) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        async for data in source:
            await asyncio.to_thread(pipe.write, data)


async def _brought_home(link: Link, backend: PodmanBackend, task_id: str) -> None:
    """Sends the files to the host, which may be away for a while. Only the job's time limit or its operator ends this
    otherwise."""
    for part in PARTS:
        while True:
            try:
                await _sent(link, backend, task_id, part)
                break
            except FileNotFoundError:
                break  # the part was never created
            except Refused as refusal:
                if refusal.code != wire.WAIT:
                    return
            except (OSError, Closed):
                pass
            await asyncio.sleep(RETRY_SECONDS)


async def _sent(link: Link, backend: PodmanBackend, task_id: str, part: str) -> None:
    with contextlib.ExitStack() as stack:
        archive = await asyncio.to_thread(stack.enter_context, backend.export(task_id, part)())
        await _checkpoint(link, part, archive.read)


async def _checkpoint(link: Link, part: str, read: Callable[[int], bytes]) -> None:
    lines, _ = await link.asked("checkpoint", part=part)
    try:
        await wire.send_pieces(lines.writer, lambda: asyncio.to_thread(read, PIECE_BYTES))
        await lines.read(wire.SILENT_SECONDS)
    finally:
        lines.close()


async def _copied_now_and_then(link: Link, remembered: Remembered, document: Message) -> None:
    """So that a run whose node is lost begins again with what it had a little earlier."""
    seconds, slot = document["checkpoint_seconds"], remembered.slot_of(document["task"])
    while seconds and slot is not None and slot.uid is not None:
        await asyncio.sleep(seconds)
        for part, volume in zip(PARTS, volumes_of(slot.name), strict=True):
            try:
                with Snapshot(volume, slot.uid) as snapshot:
                    await _checkpoint(link, part, snapshot.read)
            except (OSError, Closed, Refused, TimeoutError, ValueError) as error:
                log.warning("a copy of the %s was not sent: %s", part, error)
