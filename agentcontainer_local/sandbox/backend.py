"""A place where runs live: what the engine knows of it, and all that it knows.

A backend runs *one run of one task, reachable by its guest*. It decides how: a container of Podman's on this machine
(`podman/`), a script inside this process (`simulated.py`), or another machine. No pid, path, uid, label, exit code or
format of a container engine crosses this interface; names are the backend's own.
`tests/backends/` has the rules, as tests that every backend passes. The shape follows Nomad's task drivers, whose
RecoverTask is our `running` with a run that was found.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from starlette.types import ASGIApp

from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.schemas import WallCheck
from agentcontainer_local.settings import Settings

Say = Callable[[str], None]  # a line for those who wait: "Building image documents, step 3 of 4"
Archive = Callable[[], AbstractContextManager[BinaryIO]]  # opens a tar archive to read from, each time anew; blocks
StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class ImageChoice:
    """What a run starts from: one of the standard images, or an image that the account named."""

    preset: str | None  # "coding", "data-processing", "document-analysis"
    reference: str | None  # exactly one of the two is set
    writable_paths: tuple[str, ...] = ()  # directories of the image that the agent may write to


@dataclass(frozen=True)
class RunSpec:
    """A run, as the engine asks for it. `launch` is asked at the last moment before the guest starts, with the
    variables that the image sets, and answers launch.json (guest contract, version 1)."""

    task_id: str
    run_id: str
    number: int  # of the task's runs, from 1
    image: ImageChoice
    launch: Callable[[Mapping[str, str]], bytes]
    limits: Limits
    isolation: str  # a level of resource_limits.LEVELS
    internet: bool
    first: bool  # the task has not run before: nothing is kept for it
    longest_seconds: int = (
        24 * 3600
    )  # the engine ends it before; a backend that needs a limit of its own takes a larger one


class Guest(NamedTuple):
    """How a run reaches the host: made by the engine, carried by the backend."""

    app: ASGIApp  # its requests, already bound to this run
    egress: StreamHandler | None  # its way to allowed hosts, which closes its writer; None where it has none
    relay: StreamHandler | None = None  # on a node: carries its connections to the host, where the app is


class Start(Enum):
    """How a run came to life."""

    FIRST = "first"  # nothing was kept for the task
    RESUMED = "resumed"  # with all that an earlier run left
    REMADE = "remade"  # with workspace and session; what was installed elsewhere is lost
    ADOPTED = "adopted"  # it was at work already, when an earlier server ended


@dataclass(frozen=True)
class Exit:
    """A run has ended by itself. `died`: its agent failed. Otherwise it was stopped, in order or with the machine."""

    died: bool
    last_words: str = ""  # of the agent's program, or why the run was stopped; empty: not known


@dataclass(frozen=True)
class Broken:
    """A run goes beyond a limit; the engine ends it. `used` and `allowed` in the limit's own unit: MB, or processes."""

    limit: str  # memory_mb, processes or workspace_mb; or disk_full: the machine's disk is, and this run takes most
    used: int | None  # None: not known
    allowed: int


class Handle(Protocol):
    """One run that is alive."""

    start: Start
    exited: asyncio.Future[Exit]  # or Unavailable: nobody can say how it ended
    broken: asyncio.Future[Broken]

    @property
    def image(self) -> str | None:
        """What it was made from; None where an earlier run's row has that already."""
        ...

    @property
    def enforced(self) -> Mapping[str, Any] | None:
        """The same: {isolation, network, limits: {name: {value, by}}, warnings}."""
        ...


@dataclass(frozen=True)
class Found:
    """What there is of a task's runs. A backend may know more of it, in a class of its own."""

    task_id: str | None  # None: whose it was cannot be told
    alive: bool  # it is at work, and can be adopted


@dataclass(frozen=True)
class Capabilities:
    name: str  # "podman"
    isolation: tuple[str, ...]  # levels of resource_limits.LEVELS, weakest first
    internet: bool
    survives_server: bool  # a run goes on while no server is there, and can be adopted
    survives_reboot: bool  # workspaces do


class Backend(Protocol):
    """All of one store's runs. Errors are those of `sandbox.errors`: `Unavailable` is never the task's fault."""

    capabilities: Capabilities

    async def ready(self) -> None:
        """Raises Unavailable, with the reason and the remedy, where no run could be started now."""
        ...

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        """Has the image ready: builds or pulls it, once for all tasks that wait for it. Cancelling one waiter does not
        end the work for others. Raises SandboxError where the image cannot be had."""
        ...

    def running(self, spec: RunSpec, guest: Guest, found: Found | None = None) -> AbstractAsyncContextManager[Handle]:
        """Starts the run, or adopts the one that was found alive, and serves its guest and watches its limits.

        Leaving it lets go: the run goes on, where `capabilities.survives_server`. Whoever wants it ended calls `stop`.
        Raises ImageMissing where the image has gone since it was prepared: prepare it, and start again.
        """
        ...

    async def found(self) -> Sequence[Found]:
        """All that there is of this store's runs, at a server's start and whenever a run is missed."""
        ...

    async def last_exit(self, task_id: str) -> Exit:
        """How a run ended that nobody followed, of a task that should run and does not."""
        ...

    async def stop(self, task_id: str) -> None:
        """Ends the task's run, if one is alive, and keeps all that it has for the next one."""
        ...

    async def remove(self, task_id: str) -> None:
        """Ends it and removes all but its workspace and session."""
        ...

    async def forget(self, task_id: str) -> None:
        """Removes workspace and session too: nothing is left of the task."""
        ...

    async def discard(self, found: Found) -> None:
        """Ends and removes what belongs to no task of this store."""
        ...

    async def kept_bytes(self, task_id: str) -> int:
        """What the task has written to disk; 0 where nothing is kept."""
        ...

    def disk(self) -> Disk | None:
        """On which runs live; None where they use none. Asked often: it takes no time."""
        ...


@runtime_checkable
class Exports(Protocol):
    """Optional: a task's workspace and session as streams, for backups, downloads and moves to another machine.

    A part is "workspace" or "session". What is opened is for threads and commands: reading it blocks.
    """

    def export(self, task_id: str, part: str) -> Archive:
        """All of one part. Opening it raises FileNotFoundError where nothing is kept."""
        ...

    def import_(self, task_id: str, part: str, archive: IO[bytes]) -> None:
        """The other way, into a task of which that part is not kept yet. Blocks. Raises LookupError for no task."""
        ...

    def forget_all(self) -> None:
        """Removes all workspaces and sessions of this store: of one that was not restored to its end. Blocks."""
        ...


@runtime_checkable
class Kills(Protocol):
    """Optional, for tests: a run dies as if its container had been killed by somebody else."""

    async def kill(self, task_id: str) -> None:
        """Does not wait for its end."""
        ...


@dataclass(frozen=True)
class KeptImage:
    name: str  # "coding", or what it was made for
    tag: str
    id: str
    size_bytes: int
    current: bool  # of this version


class Images(Protocol):
    """Optional, and without a server: the images that a backend makes, for `agentcontainer images`."""

    async def found(self) -> list[KeptImage]:
        """All that are here."""
        ...

    async def build(self, name: str, say: Say) -> str:
        """Its tag. Says each line of the build."""
        ...

    async def prune(self, data: Path, warn: Say) -> list[tuple[KeptImage, str | None]]:
        """Those that are not current, each with the reason for which it stays, or None: it was removed. What the
        container definitions in `data` and the account's other stores name stays."""
        ...


RUN_DIRECTORY = "run directory"


@dataclass(frozen=True)
class Leftover:
    """What there is of one store, as the backend sees it; of a living one, too. `parts`: how many of what, as in
    {"container": 1, "volume": 2}; of a store that is known, RUN_DIRECTORY, which its next server makes anew."""

    store_id: str
    parts: Mapping[str, int]
    newest_at: datetime | None = None  # when the last of it was made, where that is known
    in_use: str | None = None  # who is at work with it: "process 4711"


class Leftovers(Protocol):
    """Optional, and without a server: what stores have outside of their data directories, which stays when those are
    deleted. Which store was deleted is not the backend's to say."""

    async def found(self, known: Iterable[str]) -> list[Leftover]:
        """Of all stores that it sees, and of those that are `known`."""
        ...

    async def sizes(self, store_ids: Sequence[str]) -> list[int]:
        """Bytes on disk of each. May take seconds."""
        ...

    async def remove(self, store_id: str) -> None:
        """All of one store, which no server has open. Killed in the middle, it leaves the rest; ask it again."""
        ...

    async def interrupted_builds(self) -> list[str]:
        """What belongs to no store: what image builds that were killed have left."""
        ...

    async def sweep(self) -> list[str]:
        """Removes what interrupted builds have left. Says what that was."""
        ...


@runtime_checkable
class Checks(Protocol):
    """Optional: what this machine shows of the place, beyond the runs themselves."""

    def why_silent(self) -> str | None:
        """Who keeps it from answering, if that can be seen. Blocks."""
        ...

    async def prove(self, settings: Settings, say: Say) -> list[WallCheck]:
        """Starts runs that try to break each promise of isolation. Takes ten seconds; nothing of it stays."""
        ...
