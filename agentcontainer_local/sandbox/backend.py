"""The interface between the engine and the backends that run tasks. The engine knows nothing else about a backend.

A backend runs *one run of one task, reachable by its guest*. It decides how: a Podman container on this machine
(`podman/`), a script inside this process (`simulated/`), or a machine of a cluster (`placed/`). No pid, path, uid,
label, exit code or format of a container engine crosses this interface.

`tests/backends/` has the rules, as tests that every backend passes. The interface resembles Nomad's task drivers; their
RecoverTask is our `running` with `found`.
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

Say = Callable[[str], None]  # shows a progress line, such as "Building image documents, step 3 of 4"
Archive = Callable[[], AbstractContextManager[BinaryIO]]  # opens a new reader of a tar archive; blocks
StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class ImageChoice:
    """The image of a run: one of the standard images, or an image that the account named."""

    preset: str | None  # "coding", "data-processing", "document-analysis"
    reference: str | None  # exactly one of the two is set
    writable_paths: tuple[str, ...] = ()  # directories of the image that the agent may write to


@dataclass(frozen=True)
class RunSpec:
    """A run that the engine asks for. `launch` is called just before the guest starts, with the environment variables
    of the image, and returns launch.json (guest contract, version 1)."""

    task_id: str
    run_id: str
    number: int  # number of the run within the task, from 1
    image: ImageChoice
    launch: Callable[[Mapping[str, str]], bytes]
    limits: Limits
    isolation: str  # one of resource_limits.LEVELS
    internet: bool
    first: bool  # the task has not run before, so nothing is stored for it
    # The engine ends the run before this time. A backend that needs its own time limit adds a margin.
    longest_seconds: int = 24 * 3600


class Guest(NamedTuple):
    """How a run reaches the server. The engine makes it; the backend connects it."""

    app: ASGIApp  # answers the guest's requests; already bound to this run
    egress: StreamHandler | None  # the proxy to allowed hosts, which closes its writer; None if the run has none
    relay: StreamHandler | None = None  # on a node: passes the guest's connections on to the server, where the app is


class Start(Enum):
    """What a run starts with."""

    FIRST = "first"  # nothing: the task has no earlier run
    RESUMED = "resumed"  # everything that the earlier run left
    REMADE = "remade"  # workspace and session only; software installed elsewhere is lost
    ADOPTED = "adopted"  # the run was working already: an earlier server started it


@dataclass(frozen=True)
class Exit:
    """How a run ended. `died`: the agent failed. Otherwise it was stopped, on request or with the machine."""

    died: bool
    last_words: str = ""  # the last output of the agent's program, or why the run was stopped; empty: unknown


@dataclass(frozen=True)
class Broken:
    """A run exceeds a limit, so the engine ends it. `used` and `allowed` are in the limit's unit: MB, or processes."""

    # memory_mb, processes or workspace_mb; or disk_full: the machine's disk is full and this run uses most of it
    limit: str
    used: int | None  # None: unknown
    allowed: int


class Handle(Protocol):
    """A live run."""

    start: Start
    exited: asyncio.Future[Exit]  # the result, or the exception Unavailable if nobody can tell how the run ended
    broken: asyncio.Future[Broken]

    @property
    def image(self) -> str | None:
        """The image that it was made from; None if the row of an earlier run has it already."""
        ...

    @property
    def enforced(self) -> Mapping[str, Any] | None:
        """What enforces its limits: {isolation, network, limits: {name: {value, by}}, warnings}. None as for
        `image`."""
        ...


@dataclass(frozen=True)
class Found:
    """What exists of a task's runs. A backend may add more in a subclass."""

    task_id: str | None  # None: the task is unknown
    alive: bool  # it runs, and can be adopted


@dataclass(frozen=True)
class Capabilities:
    name: str  # "podman"
    isolation: tuple[str, ...]  # a subset of resource_limits.LEVELS, weakest first
    internet: bool
    survives_server: bool  # runs continue without a server, and can be adopted
    survives_reboot: bool  # workspaces are kept


class Backend(Protocol):
    """The runs of one store. Errors are those of `sandbox.errors`; `Unavailable` is never the task's fault."""

    capabilities: Capabilities

    async def ready(self) -> None:
        """Raises Unavailable, with the reason and the remedy, if no run could be started now."""
        ...

    async def prepare(self, image: ImageChoice, say: Say) -> None:
        """Builds or pulls the image, once for all tasks that wait for it. Cancelling one waiter does not stop the work
        for the others. Raises SandboxError if the image can't be built or pulled."""
        ...

    def running(self, spec: RunSpec, guest: Guest, found: Found | None = None) -> AbstractAsyncContextManager[Handle]:
        """Starts the run, or adopts the live one that was `found`. Serves its guest and watches its limits.

        Leaving the context does not end the run if `capabilities.survives_server`; `stop` ends it. Raises ImageMissing
        if the image was removed since `prepare`: prepare it and start again.
        """
        ...

    async def found(self) -> Sequence[Found]:
        """Everything that exists of this store's runs. Called at a server's start and when a run is missing."""
        ...

    async def last_exit(self, task_id: str) -> Exit:
        """How a run ended that no server was watching, of a task that should run and does not."""
        ...

    async def stop(self, task_id: str) -> None:
        """Ends the task's run if one is alive, and keeps all its state for the next run."""
        ...

    async def remove(self, task_id: str) -> None:
        """Ends the run and removes all of it but workspace and session."""
        ...

    async def forget(self, task_id: str) -> None:
        """Removes workspace and session too: nothing is left of the task."""
        ...

    async def discard(self, found: Found) -> None:
        """Ends and removes something that belongs to no task of this store."""
        ...

    async def kept_bytes(self, task_id: str) -> int:
        """The bytes that the task has written to disk; 0 if nothing is kept."""
        ...

    def disk(self) -> Disk | None:
        """The disk that runs use; None if they use none. Called often, so it must be fast."""
        ...


@runtime_checkable
class Exports(Protocol):
    """Optional: a task's workspace and session as streams, for backups, downloads and moves to another machine.

    A part is "workspace" or "session". Reading blocks, so it belongs into a thread or a command.
    """

    def export(self, task_id: str, part: str) -> Archive:
        """An archive of one part. Opening it raises FileNotFoundError if nothing is kept."""
        ...

    def import_(self, task_id: str, part: str, archive: IO[bytes]) -> None:
        """Fills a part of a task that has none yet. Blocks. Raises LookupError if there is no such task."""
        ...

    def forget_all(self) -> None:
        """Removes all workspaces and sessions of this store, after a restore that was interrupted. Blocks."""
        ...


@runtime_checkable
class Kills(Protocol):
    """Optional, for tests: makes a run die as if its container had been killed from outside."""

    async def kill(self, task_id: str) -> None:
        """Kills the run and does not wait for its end."""
        ...


@dataclass(frozen=True)
class KeptImage:
    name: str  # "coding", or the name that it was made for
    tag: str
    id: str
    size_bytes: int
    current: bool  # made for the present version of the program


class Images(Protocol):
    """Optional, works without a server: the images that a backend makes, for `agentcontainer images`."""

    async def found(self) -> list[KeptImage]:
        """All images that this machine has."""
        ...

    async def build(self, name: str, say: Say) -> str:
        """Builds the image and returns its tag. `say` gets each line of the build."""
        ...

    async def prune(self, data: Path, warn: Say) -> list[tuple[KeptImage, str | None]]:
        """Removes the images that are not current. Returns each with the reason why it was kept, or None if it was
        removed. Images that container definitions name, in `data` or in other stores of the account, are kept."""
        ...


RUN_DIRECTORY = "run directory"


@dataclass(frozen=True)
class Leftover:
    """What exists of one store outside its data directory, whether the store is in use or deleted.

    `parts`: counts by kind, such as {"container": 1, "volume": 2}. RUN_DIRECTORY is only counted for known stores; the
    next server recreates it.
    """

    store_id: str
    parts: Mapping[str, int]
    newest_at: datetime | None = None  # when the newest part was made, if known
    in_use: str | None = None  # the process that uses it, such as "process 4711"


class Leftovers(Protocol):
    """Optional, works without a server: what stores have outside their data directories. It remains when those are
    deleted. The backend does not decide which store was deleted."""

    async def found(self, known: Iterable[str]) -> list[Leftover]:
        """The leftovers of all stores that it finds, and of those that are `known`."""
        ...

    async def sizes(self, store_ids: Sequence[str]) -> list[int]:
        """The size of each on disk, in bytes. May take seconds."""
        ...

    async def remove(self, store_id: str) -> None:
        """Removes everything of one store that no server has open. If it is interrupted, call it again."""
        ...

    async def interrupted_builds(self) -> list[str]:
        """What killed image builds left behind. It belongs to no store."""
        ...

    async def sweep(self) -> list[str]:
        """Removes what interrupted builds left behind. Returns a description of each."""
        ...


@runtime_checkable
class Checks(Protocol):
    """Optional: checks of this machine, beyond the runs themselves."""

    def why_silent(self) -> str | None:
        """The process that keeps the backend from answering, if that can be found out. Blocks."""
        ...

    async def prove(self, settings: Settings, say: Say) -> list[WallCheck]:
        """Starts runs that try to break each promise of isolation. Takes ten seconds and leaves nothing behind."""
        ...
