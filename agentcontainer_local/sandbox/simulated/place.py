"""The simulated backend: runs within this process, without containers and Pi."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from agentcontainer_local.resource_limits import LEVELS, NAMES
from agentcontainer_local.sandbox.backend import (
    Archive,
    Broken,
    Capabilities,
    Exit,
    Found,
    Guest,
    ImageChoice,
    RunSpec,
    Say,
    Start,
)
from agentcontainer_local.sandbox.errors import ImageMissing, Unavailable
from agentcontainer_local.sandbox.simulated.agent import Agent, Play
from agentcontainer_local.sandbox.simulated.door import Door
from agentcontainer_local.sandbox.simulated.events import Events
from agentcontainer_local.sandbox.simulated.files import Kept
from agentcontainer_local.sandbox.simulated.guest import Guest as SimulatedGuest
from agentcontainer_local.sandbox.simulated.script import Scripts, no_scripts
from agentcontainer_local.sandbox.simulated.session import Session
from agentcontainer_local.sandbox.simulated.shell import Ran
from agentcontainer_local.sandbox.simulated.watch import MEASURED, Watch
from agentcontainer_local.settings import Settings

log = logging.getLogger(__name__)

STOPPED = Exit(died=False)
KILLED = Exit(died=True, last_words="none; its exit code was 137.")
WITH_ITS_PROCESS = Exit(died=False, last_words="The simulation ended.")
NOT_ENFORCED = "The run is simulated: of its limits only workspaceMb is enforced."


@dataclass
class SimulatedRun:
    """A run, alive or ended. It is the handle that the engine gets."""

    spec: RunSpec
    start: Start
    door: Door
    playing: asyncio.Task[Exit]
    exited: asyncio.Future[Exit]
    broken: asyncio.Future[Broken]
    killed: bool = False

    @property
    def image(self) -> str | None:
        return f"simulated:{_name(self.spec.image)}" if self._is_new else None

    @property
    def enforced(self) -> dict[str, Any] | None:
        if not self._is_new:
            return None
        values = asdict(self.spec.limits)
        return {
            "isolation": self.spec.isolation,
            "network": "internet" if self.spec.internet else "none",
            "limits": {
                wire: {"value": values[name], "by": "watchdog" if name == MEASURED else "nothing"}
                for name, (wire, _) in NAMES.items()
            },
            "warnings": [NOT_ENFORCED],
        }

    @property
    def _is_new(self) -> bool:
        return self.start in (Start.FIRST, Start.REMADE)


class Simulation:
    """Simulated runs of any number of stores, each with its own backend.

    `folder`: the directory for the tasks' files. `scripts`: returns what each agent does; None: it follows its model.
    `outputs`: returns what a bash block prints instead of being run; None: it runs in the simulated shell. `sleep`: the
    clock.

    With `survives_server`, runs continue when a server ends, and another server in this process can adopt them. A test
    may set `away` to a reason why no run can start, and add names to `missing_images`.
    """

    def __init__(
        self,
        folder: Path,
        scripts: Scripts = no_scripts,
        outputs: Callable[[str], Ran | str | None] = lambda block: None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        survives_server: bool = False,
    ):
        self.folder = folder
        self.play = Play(scripts, outputs, sleep)
        self.survives_server = survives_server
        self.away: str | None = None
        self.missing_images: set[str] = set()
        self._backends: dict[str, Simulated] = {}

    def backend(self, store_id: str) -> "Simulated":
        if store_id not in self._backends:
            self._backends[store_id] = Simulated(self, self.folder / store_id)
        return self._backends[store_id]

    async def close(self) -> None:
        """Ends every run and keeps its files."""
        for backend in self._backends.values():
            await backend.stop_all()


class Simulated:
    """The backend of one store, with exports."""

    def __init__(self, simulation: Simulation, folder: Path):
        self._in = simulation
        self._folder = folder
        self._runs: dict[str, SimulatedRun] = {}  # by task id
        self.capabilities = Capabilities(
            name="simulated",
            isolation=LEVELS,
            internet=True,
            survives_server=simulation.survives_server,
            survives_reboot=True,
        )

    async def ready(self) -> None:
        if self._in.away is not None:
            raise Unavailable(self._in.away)

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        await self.ready()
        self._check_image(image)

    def _check_image(self, image: ImageChoice) -> None:
        if (name := _name(image)) in self._in.missing_images:
            raise ImageMissing(f"The image {name} can't be had: this simulation has none of that name.")

    @contextlib.asynccontextmanager
    async def running(self, spec: RunSpec, guest: Guest, found: Found | None = None) -> AsyncIterator[SimulatedRun]:
        run = self._runs.get(spec.task_id)
        if found is not None and found.alive and run is not None:
            run.start = Start.ADOPTED
        else:
            run = await self._started(spec)
        run.door.open(guest.app)
        try:
            yield run
        finally:
            await run.door.close()
            if not self._in.survives_server:
                await self._end(run)

    async def _started(self, spec: RunSpec) -> SimulatedRun:
        await self.ready()
        self._check_image(spec.image)
        await self.stop(spec.task_id)  # an earlier run may still be alive
        kept = self._kept(spec.task_id)
        start = Start.RESUMED if kept.has_container else Start.REMADE if kept.is_there else Start.FIRST
        try:
            kept.begin({"run": spec.run_id, "number": spec.number, "image": _name(spec.image)})
            run = self._runs[spec.task_id] = self._alive(spec, start, kept)
        except BaseException:
            if start is Start.FIRST:
                kept.remove()
            raise
        return run

    def _alive(self, spec: RunSpec, start: Start, kept: Kept) -> SimulatedRun:
        loop, door, watch = asyncio.get_running_loop(), Door(), Watch(kept, spec.limits)
        launch, events, session = json.loads(spec.launch({})), Events(door), Session(kept.session)
        agent = Agent(spec.task_id, launch, door, kept, self._in.play, events, session, watch)
        work = SimulatedGuest(agent, door, kept, events, session).run()
        playing = loop.create_task(work, name=f"simulated {spec.task_id}")
        run = SimulatedRun(spec, start, door, playing, loop.create_future(), watch.broken)
        playing.add_done_callback(lambda _: self._over(run))
        return run

    def _over(self, run: SimulatedRun) -> None:
        if run.playing.cancelled():
            run.exited.set_result(KILLED if run.killed else STOPPED)
        elif error := run.playing.exception():
            log.error("the simulated agent failed task=%s", run.spec.task_id, exc_info=error)
            run.exited.set_result(Exit(died=True, last_words=f"The simulation failed: {error!r}"))
        else:
            run.exited.set_result(run.playing.result())

    async def _end(self, run: SimulatedRun) -> None:
        run.playing.cancel()
        await asyncio.wait({run.playing})

    async def found(self) -> list[Found]:
        await self.ready()
        kept = sorted(folder.name for folder in self._folder.glob("*") if Kept(folder).has_container)
        return [Found(task_id, alive=self._is_alive(task_id)) for task_id in kept]

    def _is_alive(self, task_id: str) -> bool:
        return task_id in self._runs and not self._runs[task_id].exited.done()

    async def last_exit(self, task_id: str) -> Exit:
        await self.ready()
        run = self._runs.get(task_id)
        if run is None:
            return WITH_ITS_PROCESS
        await asyncio.wait({run.exited})
        return run.exited.result()

    async def stop(self, task_id: str) -> None:
        if run := self._runs.get(task_id):
            await self._end(run)

    async def kill(self, task_id: str) -> None:
        if run := self._runs.get(task_id):
            run.killed = True
            run.playing.cancel()

    async def stop_all(self) -> None:
        for task_id in list(self._runs):
            await self.stop(task_id)

    async def remove(self, task_id: str) -> None:
        await self.stop(task_id)
        self._runs.pop(task_id, None)
        self._kept(task_id).remove_container()

    async def forget(self, task_id: str) -> None:
        await self.remove(task_id)
        self._kept(task_id).remove()

    async def discard(self, found: Found) -> None:
        if found.task_id is not None:
            await self.forget(found.task_id)

    async def kept_bytes(self, task_id: str) -> int:
        return self._kept(task_id).size_bytes()

    def disk(self) -> None:
        """None: the files are in the data directory, whose disk the engine watches anyway."""

    def export(self, task_id: str, part: str) -> Archive:
        return lambda: self._kept(task_id).export(part)

    def import_(self, task_id: str, part: str, archive: BinaryIO) -> None:
        self._kept(task_id).import_(part, archive)

    def _kept(self, task_id: str) -> Kept:
        return Kept(self._folder / task_id)


@contextlib.asynccontextmanager
async def open(settings: Settings, store_id: str) -> AsyncIterator[Simulated]:
    """The backend of a server. The tasks' files are in the data directory."""
    simulation = Simulation(settings.data / "simulated")
    try:
        yield simulation.backend(store_id)
    finally:
        await simulation.close()


def _name(image: ImageChoice) -> str:
    return image.preset or image.reference or ""
