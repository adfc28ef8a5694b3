"""The backend for other machines: each run is a job of the scheduler, and a session with the node program in it."""

import asyncio
import contextlib
import logging
import math
import shlex
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from agentcontainer_local.process import disk_space, failpoints
from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.resource_limits import MB
from agentcontainer_local.sandbox import backend, guest_http
from agentcontainer_local.sandbox.backend import Capabilities, Exit, Guest, ImageChoice, RunSpec, Say
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.sandbox.placed import wire
from agentcontainer_local.sandbox.placed.certificates import Authority
from agentcontainer_local.sandbox.placed.checkpoints import Checkpoints
from agentcontainer_local.sandbox.placed.images import HostImages, Ready
from agentcontainer_local.sandbox.placed.jobs import ALIVE, Jobs
from agentcontainer_local.sandbox.placed.listener import Arrival, Listener
from agentcontainer_local.sandbox.placed.session import NodeFailed, Session
from agentcontainer_local.sandbox.placed.wire import Message
from agentcontainer_local.scheduler import Job, Refused, Resources, Scheduler, State
from agentcontainer_local.scheduler import Unavailable as EngineUnavailable
from agentcontainer_local.settings import Settings

log = logging.getLogger(__name__)

EVERYWHERE = ("", "0.0.0.0", "[::]")  # addresses that no node can dial
TRIES = 3  # number of nodes that are tried before a run fails
SLACK_SECONDS = 3600  # added to the job's time limit, which only matters if everything else fails
UNDECIDED_SECONDS = 2
REST_SECONDS = 120  # for a node to stop a run and send its files, before the job is cancelled
PIECE_BYTES = 1024**2
TAR_FACTOR = 2  # an archive of small files is larger than what they take on disk
END_SECONDS = 15  # for the scheduler to end a job


class Runs(Protocol):
    """Facts from the store's rows, which are valid whether or not this server follows the run."""

    def open_run(self, task_id: str) -> str | None:
        """The id of the task's open run; None if it has none, or there is no such task."""
        ...

    def last_run(self, task_id: str) -> str | None:
        """The id of the task's newest run, open or ended."""
        ...


@dataclass(frozen=True)
class Found(backend.Found):
    job: str


class Placed:
    """See backend.Backend."""

    def __init__(
        self, settings: Settings, jobs: Jobs, images: HostImages, runs: Runs, authority: Authority, runtime: Path
    ):
        self.capabilities = Capabilities(
            name=settings.scheduler or "",
            isolation=("container",),
            internet=True,
            survives_server=True,
            survives_reboot=True,
        )
        self._settings = settings
        self._jobs = jobs
        self._images = images
        self._runs = runs
        self._authority = authority
        self._runtime = runtime.name  # the directory's name is a hash of its content
        self._checkpoints = Checkpoints(settings.data)
        self.export, self.import_ = self._checkpoints.export, self._checkpoints.import_  # see backend.Exports
        self.forget_all = self._checkpoints.forget_all
        self._sessions: dict[str, Session] = {}  # by job
        self._doors: dict[str, Callable[[], asyncio.Protocol]] = {}
        # by task; waits for the decision whether its files are kept
        self._undecided: dict[str, asyncio.Task[None]] = {}
        self.address = ""  # the listener's address, for nodes

    # Called by the engine

    async def ready(self) -> None:
        with _asking():
            nodes = await self._jobs.scheduler.nodes()
        if not any(node.up for node in nodes):
            words = "; ".join(f"{node.name} is {node.reason}" for node in nodes) or "it has no node"
            raise Unavailable(f"No node takes jobs: {words}.")

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        await self._images.ensure(image, say)

    @contextlib.asynccontextmanager
    async def running(self, spec: RunSpec, guest: Guest, found: backend.Found | None = None) -> AsyncIterator[Session]:
        alive = found is not None and found.alive
        job, image = _job(spec), self._images.ready(spec.image)
        document = _document(spec, guest, image)
        session = Session(spec, guest, document, image.env if image else {}, alive)
        try:
            async with guest_http.answering(guest.app) as connection:
                self._sessions[job], self._doors[job] = session, connection
                if not alive:
                    await self._started(session, job)
                yield session
        finally:
            self._doors.pop(job, None)
            session.release()  # until the job is over, the node program still gets orders

    async def found(self) -> list[Found]:
        """Runs whose job is queued or running. A removed run is not listed, though its node may still send files."""
        alive = [name for name, job in (await self._listed()).items() if job.state in ALIVE]
        return [Found(_task(name), True, name) for name in alive if _task(name) not in self._undecided]

    async def last_exit(self, task_id: str) -> Exit:
        listed = await self._listed()
        mine = [job for name, job in listed.items() if _task(name) == task_id]
        return _exit_of(mine[-1] if mine else None)

    async def stop(self, task_id: str) -> None:
        """Ends the run. Its files are sent to the host, because nodes keep nothing."""
        await self._rest(task_id)
        await self._end(task_id, keep=True)

    async def remove(self, task_id: str) -> None:
        """Stops the run. Its files stay on the node until it is decided, often a moment later, if they are kept."""
        await self._rest(task_id)
        self._undecided[task_id] = asyncio.create_task(self._kept_soon(task_id))

    async def _kept_soon(self, task_id: str) -> None:
        await asyncio.sleep(UNDECIDED_SECONDS)
        del self._undecided[task_id]
        try:
            await self._end(task_id, keep=True)
        except Unavailable as error:
            log.warning("a job could not be ended: %s task=%s", error, task_id)

    async def forget(self, task_id: str) -> None:
        if undecided := self._undecided.pop(task_id, None):
            undecided.cancel()
        await self._end(task_id, keep=False)
        await asyncio.to_thread(self._checkpoints.forget, task_id)

    async def discard(self, found: backend.Found) -> None:
        if isinstance(found, Found):
            await self._cancelled(found.job)

    async def kept_bytes(self, task_id: str) -> int:
        for session in self._of(task_id):
            if (measured := await session.measured()) is not None:
                return measured
        return await asyncio.to_thread(self._checkpoints.size_bytes, task_id)

    def disk(self) -> Disk | None:
        return disk_space.of(self._settings.data)

    # Starting

    async def _started(self, session: Session, job: str) -> None:
        """Starts the run's job, on another node if one can't. Raises the error that the run fails with."""
        failed: list[NodeFailed] = []
        try:
            await self._end(session.spec.task_id, keep=True, but=job)
            session.document["restore"] = self._checkpoints.of(session.spec.task_id)
            session.document["checkpoint_seconds"] = self._settings.checkpoint_seconds
            session.document["lost_seconds"] = await self._lost_seconds()
            for _ in range(TRIES):
                try:
                    session.job_id = await self._submit(session.spec, job, [failure.node for failure in failed])
                except Refused as error:
                    if failed:  # there is no other node
                        break
                    raise SandboxError(f"The engine refused the run's job: {error}") from error
                self._jobs.waiting += 1
                try:
                    await asyncio.shield(session.started)
                    return
                except NodeFailed as failure:
                    log.warning("a node could not start a run, and another one is tried: %s job=%s", failure, job)
                    failed.append(failure)
                    await self._cancelled(job)
                    session.try_again()
                finally:
                    self._jobs.waiting -= 1
            words = "; ".join(map(str, failed))
            raise SandboxError(f"No node could start the run. {words}. Run `agentcontainer doctor` on these nodes.")
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._cancelled(job)))
            raise

    async def _submit(self, spec: RunSpec, job: str, exclude: list[str]) -> str:
        """Submits the job and returns the scheduler's id. Raises Refused."""
        limits = spec.limits
        cpus = math.ceil(limits.cpus) if limits.cpus else 1
        command = [*shlex.split(self._settings.node_command), "node", "run", job, self.address]
        resources = Resources(cpus, limits.memory_mb, spec.longest_seconds + SLACK_SECONDS)
        with _asking():
            id = await self._jobs.scheduler.submit(job, command, resources, exclude=exclude)
        failpoints.point("job.submitted")
        return id

    async def _lost_seconds(self) -> int:
        with _asking():
            return await self._jobs.scheduler.lost_seconds()

    # Ending

    async def _rest(self, task_id: str) -> None:
        for session in self._of(task_id):
            await session.order({"type": "stop"})
            await session.reached(session.at_rest, REST_SECONDS)

    async def _end(self, task_id: str, keep: bool, but: str | None = None) -> None:
        """Ends all jobs of a task except `but`, through the node program or, if not connected, the scheduler."""
        for session in self._of(task_id, but):
            await session.order({"type": "decide", "keep": keep})
            await session.reached(session.over, REST_SECONDS)
        for name, listed in (await self._listed()).items():
            if _task(name) == task_id and name != but and listed.state in ALIVE:
                await self._cancelled(name)

    def _of(self, task_id: str, but: str | None = None) -> list[Session]:
        return [session for job, session in self._sessions.items() if _task(job) == task_id and job != but]

    async def _cancelled(self, job: str) -> None:
        """Cancels a job and waits until the scheduler reports its end."""
        try:
            with _asking():
                await self._jobs.scheduler.cancel(job)
            async with asyncio.timeout(END_SECONDS):
                while (known := (await self._listed()).get(job)) is not None and known.state in ALIVE:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise Unavailable(f"The engine has not ended the job {job}.") from None

    # Called with the scheduler's answers

    async def _listed(self) -> Mapping[str, Job]:
        with _asking():
            return await self._jobs.fresh()

    async def seen(self, jobs: Mapping[str, Job]) -> None:
        """Handles jobs that have ended, after each query of the scheduler, whatever the state of their connections."""
        over: list[str] = []
        for name, session in self._sessions.items():
            job = jobs.get(name)
            if (job is not None and job.state in ALIVE) or not session.submitted:
                continue
            if job is not None and session.job_id not in (None, job.id):
                continue  # it belongs to an earlier try
            if session.released:
                over.append(name)
            if not session.started.done() and not session.adopted:
                if job is not None:
                    session.started.set_exception(NodeFailed(job.node or "the engine", _words_of(job)))
            elif not (job is not None and job.state is State.ENDED and session.connected):
                session.end(_exit_of(job, self._checkpoints.age_seconds(_task(name))))
        for name in over:
            self._sessions.pop(name).close()

    # Called for connections of nodes

    async def arrived(self, arrival: Arrival, node: str, greeting: Message) -> None:
        """Accepts or refuses a connection, by the rows and by what the scheduler reports."""
        kind, job = greeting["kind"], str(greeting["job"])
        if greeting["version"] != wire.VERSION:
            return arrival.refuse(wire.VERSIONS, "The node runs another version of agentcontainer than the host.")
        placed = await self._is_on(job, node)
        session = self._sessions.get(job)
        if placed is False:
            return arrival.refuse(wire.NOT_YOURS, f"The engine has not placed {job} on {node}.")
        if placed is None:
            return arrival.refuse(wire.WAIT, "The engine does not say yet where this run is.")
        if kind == "checkpoint" and (session is not None or self._runs.last_run(_task(job)) == _run(job)):
            most = session.spec.limits.workspace_mb if session else self._settings.task_workspace_mb
            return await self._checkpoint(job, node, greeting["part"], most * MB, *arrival.stream())
        if session is None:
            ended = self._runs.open_run(_task(job)) != _run(job)
            code, words = (wire.GONE, "has ended") if ended else (wire.WAIT, "is not known to the host yet")
            return arrival.refuse(code, f"{job} {words}.")
        return await self._serve(arrival, session, job, node, kind, greeting)

    async def _is_on(self, job: str, node: str) -> bool | None:
        """Whether the job runs on the node. None if the scheduler does not answer, or has not reported it yet."""
        try:
            on = await self._jobs.node_of(job)
        except EngineUnavailable:
            return None
        return on == node

    async def _serve(
        self, arrival: Arrival, session: Session, job: str, node: str, kind: str, greeting: Message
    ) -> None:
        match kind:
            case "control":
                if greeting["runtime"] != self._runtime:
                    return arrival.refuse(
                        wire.VERSIONS, "The node runs another version of agentcontainer than the host."
                    )
                lines = arrival.lines()
                await lines.write({"ok": True, "spec": session.document, "node": node})
                await session.attend(node, lines, greeting)
            case "door" if job in self._doors:
                arrival.becomes(self._doors[job]())
            case "egress" if session.guest.egress is not None:
                await session.guest.egress(*arrival.stream())
            case "image":
                await self._images.send(session.spec.image, *arrival.stream())
            case "restore":
                await self._restore(session.spec.task_id, greeting["part"], *arrival.stream())
            case _:
                arrival.transport.abort()
        return None

    async def _restore(
        self, task_id: str, part: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with self._checkpoints.opened(task_id, part) as file:
            writer.write(wire.line({"ok": True}))
            await wire.send_pieces(writer, lambda: asyncio.to_thread(file.read, PIECE_BYTES))
        writer.close()

    async def _checkpoint(
        self, job: str, node: str, part: str, most: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Receives a part of the workspace, of at most `most` bytes and what tar adds. The earlier one is kept if the
        connection is cut, or if the scheduler has given the run up meanwhile: its successor may have begun."""
        writer.write(wire.line({"ok": True}))
        with self._checkpoints.replacing(_task(job), part) as out:
            async for data in wire.pieces(reader):
                await asyncio.to_thread(out.write, data)
                if out.tell() > TAR_FACTOR * most:
                    raise ValueError(f"the {part} is larger than its limit")
            if not await self._is_on(job, node):
                raise ValueError(f"{node} has lost {job} meanwhile")
        writer.write(wire.line({"ok": True}))
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def open(
    settings: Settings, runs: Runs, runtime: Path, scheduler: Scheduler, images: HostImages
) -> AsyncIterator[Placed]:
    """Listens for nodes. Raises RuntimeError if that fails."""
    if settings.node_listen is None:
        raise RuntimeError("Runs on other machines need --node-listen ADDRESS:PORT, on which nodes reach this server.")
    host, _, port = settings.node_listen.rpartition(":")
    authority = Authority(settings.data)
    placed: Placed

    async def seen(jobs: Mapping[str, Job]) -> None:
        await placed.seen(jobs)

    jobs = Jobs(scheduler, seen)
    placed = Placed(settings, jobs, images, runs, authority, runtime)
    listener = Listener(authority, placed.arrived)
    try:
        listening = listener.listening(host.strip("[]"), int(port))
        async with listening as bound:
            placed.address = f"{socket.gethostname() if host in EVERYWHERE else host}:{bound}"
            looking = [asyncio.create_task(jobs.run()), asyncio.create_task(_removed(listener))]
            try:
                yield placed
            finally:
                for task in looking:
                    task.cancel()
                await asyncio.gather(*looking, return_exceptions=True)
    except OSError as error:
        raise RuntimeError(f"Can't listen for nodes on {settings.node_listen}: {error.strerror}.") from error


async def _removed(listener: Listener) -> None:
    while True:
        await asyncio.sleep(1)
        listener.close_removed()


@contextlib.contextmanager
def _asking() -> Iterator[None]:
    """A scheduler that does not answer is unavailable, as the engine understands it: the task waits."""
    try:
        yield
    except EngineUnavailable as error:
        raise Unavailable(f"The engine can't be asked: {error}") from error


def _document(spec: RunSpec, guest: Guest, image: Ready | None) -> Message:
    return {
        "task": spec.task_id,
        "run": spec.run_id,
        "number": spec.number,
        "image": image and {"name": image.name, "id": image.id},
        "limits": asdict(spec.limits),
        "isolation": spec.isolation,
        "internet": spec.internet,
        "egress": guest.egress is not None,
        "restore": [],
        "lost_seconds": None,
        "checkpoint_seconds": 0,
    }


def _job(spec: RunSpec) -> str:
    return f"{spec.task_id}.{spec.run_id}"


def _run(job: str) -> str:
    return job.partition(".")[2]


def _task(job: str) -> str:
    return job.partition(".")[0]


def _exit_of(job: Job | None, copied_ago: float | None = None) -> Exit:
    """The exit of a job that ended without a report from its node. It is not known whether the agent failed, so it
    counts as a stop. `copied_ago`: age of the task's last checkpoint, in seconds."""
    if job is None:
        why = "The engine does not know the run's job any more."
    elif job.state is State.NODE_LOST:
        why = f"The node {job.node} was lost ({_words_of(job)})."
    elif job.state is State.PREEMPTED:
        why = f"The engine needed the node {job.node} for something else."
    else:
        why = f"The run's job on {job.node} ended ({_words_of(job)})."
    since = "from the beginning" if copied_ago is None else f"with its files of {copied_ago:.0f} seconds ago"
    return Exit(died=False, last_words=f"{why} It goes on {since}; what it did since then may be done again.")


def _words_of(job: Job) -> str:
    return job.reason or job.state.value
