"""Decides what to do next for a run, from its rows, the time and a few values. `follow` carries it out."""

from dataclasses import dataclass
from datetime import datetime

from agentcontainer_local import lifecycle
from agentcontainer_local.store import tasks
from agentcontainer_local.store.rows import Run, Task
from agentcontainer_local.store.tasks import runs

MAX_NUDGES = 2
# one tenth of the time, up to this maximum, is kept for calling `finish`
FINISHING_PART, MAX_FINISHING_SECONDS = 10, 300
MIN_PARTED_SECONDS = 60  # with a shorter limit, nothing is kept
SLEEP_HEARD_SECONDS = 0.5  # time for the agent to receive the answer of `hibernate`, so that its session contains it


@dataclass(frozen=True)
class Wait:
    """Nothing to do for this time, unless the rows change."""

    seconds: float


@dataclass(frozen=True)
class EndRun:
    """The task waits or is over, so the run ends."""


@dataclass(frozen=True)
class OutOfTime:
    """The time limit is reached; the run ends. `error`: a sentence for the task or, in a conversation, for its turn."""

    error: str


@dataclass(frozen=True)
class Restart:
    """The task continues in another run."""

    reason: str


@dataclass(frozen=True)
class WrapUp:
    """Tell the agent that its time is nearly over."""


@dataclass(frozen=True)
class AskToFinish:
    """The budget is used up: ask the agent to call `finish`, with the part that was kept for this."""


@dataclass(frozen=True)
class EndTurn:
    """The agent has answered in a conversation, or failed with `error`."""

    error: str | None


@dataclass(frozen=True)
class Fail:
    error: str


@dataclass(frozen=True)
class Nudge:
    """The agent stopped without calling `finish`: tell it to call `finish`."""


@dataclass(frozen=True)
class GiveUp:
    """The agent stopped again without `finish`, after MAX_NUDGES nudges."""


Action = Wait | EndRun | OutOfTime | Restart | WrapUp | AskToFinish | EndTurn | Fail | Nudge | GiveUp


@dataclass(frozen=True)
class Seen:
    """Facts that the two rows do not contain.

    `undelivered`: Pi was not given all messages yet. `resting_seconds`: how long the task has not been running.
    `max_idle_seconds`: how long the container of an idle conversation is kept running.
    """

    undelivered: bool = False
    resting_seconds: float = 0
    max_idle_seconds: float = 0


def decide(task: Task, run: Run | None, now: datetime, seen: Seen) -> Action:
    """What to do next. `run`: the task's open run, or None."""
    if run is None:
        return EndRun()
    if task["status"] == lifecycle.RUNNING:
        return _at_work(task, run, now, seen)
    if task["status"] == lifecycle.AWAITING_INPUT:
        return _for_at_most(seen.max_idle_seconds, seen)
    if falls_asleep(task) and runs.state(run) != runs.SETTLED:
        return _for_at_most(SLEEP_HEARD_SECONDS, seen)
    return EndRun()


def falls_asleep(task: Task) -> bool:
    """Whether the task hibernates, or was just woken. Its agent may still need the answer of `hibernate`."""
    woken = task["status"] == lifecycle.PENDING and task["to_tell"] is not None
    return woken or task["status"] == lifecycle.HIBERNATING


def _for_at_most(seconds: float, seen: Seen) -> Action:
    left = seconds - seen.resting_seconds
    return Wait(left) if left > 0 else EndRun()


def _at_work(task: Task, run: Run, now: datetime, seen: Seen) -> Action:
    used_seconds = (tasks.container_ms(task, now) - task["turn_used_ms"]) / 1000
    if used_seconds >= task["max_runtime_seconds"]:
        return OutOfTime(_out_of_time(task))
    unopened, settled = run["opened_at"] is None, runs.state(run) == runs.SETTLED
    if not tasks.fits(task, run) and (unopened or settled):
        return Restart(_changed(task))
    # An autonomous agent that settles may have undelivered messages. Those of a conversation wait for their turn.
    if settled and (unopened or task["mode"] == "conversation" or not seen.undelivered):
        return _after_settling(task, run)
    soft = _soft_seconds(task)
    if soft is None or run["soft_told_at"] is not None:
        return Wait(task["max_runtime_seconds"] - used_seconds)
    return Wait(soft - used_seconds) if used_seconds < soft else WrapUp()


def _after_settling(task: Task, run: Run) -> Action:
    """What to do when Pi is done and `finish` was not accepted. In a conversation, that is an answer."""
    error = run["settled_error"] and (task["budget_error"] or run["settled_error"])
    if error is not None and _may_finish(task, run):
        return AskToFinish()
    if task["mode"] == "conversation":
        return EndTurn(error)
    if error is not None:
        return Fail(error)
    return GiveUp() if run["nudges"] >= MAX_NUDGES else Nudge()


def _may_finish(task: Task, run: Run) -> bool:
    """Whether the agent stopped because the budget is used up, and was not yet offered the part kept for `finish`."""
    return task["budget_asked_at"] is not None and task["budget_error"] is None and run["budget_asked_at"] is None


def _soft_seconds(task: Task) -> float | None:
    """When to tell the agent to wrap up, in seconds. If the task does not say, it is shortly before a longer time
    limit."""
    most = task["max_runtime_seconds"]
    if task["soft_finish_after_seconds"] is not None or most < MIN_PARTED_SECONDS:
        return task["soft_finish_after_seconds"]
    return most - min(most / FINISHING_PART, MAX_FINISHING_SECONDS)


def _out_of_time(task: Task) -> str:
    limit = f"{task['max_runtime_seconds']} seconds, its maxRuntimeSeconds"
    if task["mode"] == "conversation":
        return f"The turn ran for {limit}, without an answer."
    return f"The task ran for {limit}, without finishing."


def _changed(task: Task) -> str:
    if task["learned_window"] is not None:
        return f"The model's context window has {task['learned_window']} tokens: Pi is started anew to keep to it."
    return "Pi is started anew, in its new mode."
