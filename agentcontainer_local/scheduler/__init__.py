"""The interface to a scheduler, such as Slurm, that decides on which machine a run is executed.

One job is one run. The scheduler never restarts a job: only the server decides that something runs again. A job is
found by its name, which contains the store and the run, so nothing can be lost between its submission and a crash.
`slurm.py` is the first implementation; docs/adding-an-engine.md explains what another one must do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Unavailable(RuntimeError):
    """The scheduler did not answer, or can't do it now. Nothing is known about the request. The task waits."""


class Refused(RuntimeError):
    """The scheduler refused the job, with a reason: the operator's options or the run's limits do not fit."""


class State(Enum):
    PENDING = "pending"  # queued, or being started on a node
    RUNNING = "running"
    ENDED = "ended"
    NODE_LOST = "node_lost"  # the scheduler considers the node lost
    PREEMPTED = "preempted"  # the scheduler needs the node for something else


@dataclass(frozen=True)
class Job:
    id: str  # the scheduler's id, for operators
    run_id: str
    state: State
    node: str | None  # the present or last node; None while queued
    reason: str  # of the state, in the scheduler's words; may be empty


@dataclass(frozen=True)
class Resources:
    """The resources of a run. If no machine has them, the scheduler says so in `Job.reason`."""

    cpus: int
    memory_mb: int
    seconds: int  # time limit of the job


@dataclass(frozen=True)
class Node:
    name: str
    up: bool  # it accepts jobs, or runs some
    reason: str  # why it is not up, in the scheduler's words; may be empty


class Scheduler(Protocol):
    """The jobs of one store. Every call may raise Unavailable."""

    async def submit(
        self, run_id: str, command: Sequence[str], resources: Resources, *, exclude: Collection[str] = ()
    ) -> str:
        """Queues a job that runs the command once, on any node except `exclude`. Returns its id. The job gets none of
        the server's environment variables. Raises Refused."""
        ...

    async def cancel(self, run_id: str) -> None:
        """Ends all jobs of a run: SIGTERM, then SIGKILL after the scheduler's grace time. Does nothing if there are
        none."""
        ...

    async def jobs(self) -> dict[str, Job]:
        """The newest job of each run, by run: queued, running and, as long as the scheduler remembers them, ended
        ones."""
        ...

    async def nodes(self) -> list[Node]:
        """The machines that can run this store's jobs."""
        ...

    async def lost_seconds(self) -> int:
        """The seconds after which a silent node counts as lost."""
        ...
