"""An engine that decides on which machine a run lives: what the server asks of it, and all that it knows of it.

One job of the engine's is one run. The engine never starts a job a second time: only the server decides that something
runs again. A job is found by its name, which is made of the store and the run, so there is no note to lose between its
submission and a crash. `slurm.py` is the first engine; docs/adding-an-engine.md says what another one must do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Unavailable(RuntimeError):
    """The engine did not answer, or cannot do it now: nothing is known about what was asked. The task waits."""


class Refused(RuntimeError):
    """The engine has refused the job, with its reason: the operator's options or the run's limits do not fit it."""


class State(Enum):
    PENDING = "pending"  # queued, or on its way to a node
    RUNNING = "running"
    ENDED = "ended"
    NODE_LOST = "node_lost"  # the engine has given its node up
    PREEMPTED = "preempted"  # the engine needs the node for something else


@dataclass(frozen=True)
class Job:
    id: str  # the engine's own, for an operator
    run_id: str
    state: State
    node: str | None  # where it is, or was; None while it is queued
    reason: str  # of the state, in the engine's words; may be empty


@dataclass(frozen=True)
class Resources:
    """What a run may take. Raises nothing: an engine that has no such machine says so in `Job.reason`."""

    cpus: int
    memory_mb: int
    seconds: int  # until the engine ends it


@dataclass(frozen=True)
class Node:
    name: str
    up: bool  # it takes jobs, or has them
    reason: str  # why not, in the engine's words; may be empty


class Scheduler(Protocol):
    """All jobs of one store. Every call may raise Unavailable."""

    async def submit(
        self, run_id: str, command: Sequence[str], resources: Resources, *, exclude: Collection[str] = ()
    ) -> str:
        """Queues a job that starts the command once, on any node but these; answers its id. No variable of the server's
        environment goes with it. Raises Refused."""
        ...

    async def cancel(self, run_id: str) -> None:
        """Ends all jobs of a run: SIGTERM, and SIGKILL after the engine's grace. No job of that run is no error."""
        ...

    async def jobs(self) -> dict[str, Job]:
        """By run: those that are queued or at work, and, as long as the engine remembers them, those that ended. Where
        a run has several, the newest."""
        ...

    async def nodes(self) -> list[Node]:
        """The machines that may get this store's jobs."""
        ...

    async def lost_seconds(self) -> int:
        """After so long a node that is silent is given up."""
        ...
