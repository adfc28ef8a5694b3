"""Follows a working run: carries out what `decide` says, and handles the run's end and exceeded limits."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run import limits
from agentcontainer_local.engine.run.decide import (
    MAX_NUDGES,
    Action,
    AskToFinish,
    EndRun,
    EndTurn,
    Fail,
    GiveUp,
    Nudge,
    OutOfTime,
    Restart,
    Seen,
    Wait,
    WrapUp,
    decide,
    falls_asleep,
)
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Exit, Handle
from agentcontainer_local.sandbox.errors import Unavailable
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.rows import Task


async def follow(host: Host, task_id: str, run: Handle) -> None:
    """Acts on the task's rows until the task waits or is over, or its run has ended or exceeds a limit."""
    rest = _RestTimer(host.steady)
    while True:
        changed = host.changed.mark(task_id)
        task = tasks.get(host.db, task_id)
        if run.broken.done():
            return fail(host, task_id, limits.error(run.broken.result()))
        if run.exited.done():
            return await _ended(host, task, run.exited)
        action = due(host, task, rest.seconds(task))
        if isinstance(action, Wait):
            watched: set[asyncio.Future[Any]] = {changed, run.exited, run.broken}
            await host.now.wait(watched, action.seconds)
            continue
        act(host, task, action)
        if isinstance(action, EndRun | OutOfTime | Restart):
            # immediately, because a message from here on must start a new run
            return tasks.end_run(host.db, task_id, host.now())
        await asyncio.sleep(0)


class _RestTimer:
    """Measures how long a conversation has waited for its next message, or a task has hibernated."""

    def __init__(self, steady: Callable[[], float]):
        self._steady = steady
        self._what: object = None
        self._since = 0.0

    def seconds(self, task: Task) -> float:
        what = "asleep" if falls_asleep(task) else (task["status"], task["turn_number"])
        if self._what != what:
            self._what, self._since = what, self._steady()
        return self._steady() - self._since


def due(host: Host, task: Task, resting_seconds: float = 0) -> Action:
    """What to do now for the task's open run."""
    run = tasks.open_run(host.db, task["id"])
    settled = run is not None and run["settled_at"] is not None
    seen = Seen(settled and bool(transcript.waiting(host.db, task["id"])), resting_seconds, host.settings.idle_seconds)
    return decide(task, run, host.now(), seen)


def act(host: Host, task: Task, action: Action) -> None:
    """Carries out an action, except for ending the run."""
    if isinstance(action, AskToFinish | EndTurn | Fail | GiveUp | Nudge):
        failpoints.point("run.settled")
    db, task_id, now = host.db, task["id"], host.now()
    match action:
        case WrapUp():
            tasks.runs.told_to_wrap_up(db, _open_run(db, task_id), now)
        case Nudge():
            tasks.runs.asked_again(db, _open_run(db, task_id), now, "nudged")
        case AskToFinish():
            tasks.runs.asked_again(db, _open_run(db, task_id), now, "asked_to_finish")
        case EndTurn(error):
            tasks.end_turn(db, task_id, error, now)
        case Fail(error):
            tasks.apply(db, task_id, "failed", now, error=error)
        case GiveUp():
            answer = transcript.last_said(db, task_id)
            tasks.apply(db, task_id, "failed", now, error=_gave_up_error(host, task), result=answer)
        case Restart(reason):
            tasks.apply(db, task_id, "interrupted", now, reason=reason)
        case OutOfTime(error):
            _out_of_time(host, task, error)


def _open_run(db: Database, task_id: str) -> str:
    """The id of the task's open run. Raises LookupError if there is none."""
    run = tasks.open_run(db, task_id)
    if run is None:
        raise LookupError(f"the task has no open run: {task_id}")
    return run["id"]


def _out_of_time(host: Host, task: Task, error: str) -> None:
    host.keep_words(task["id"])
    error += _about_model_calls(host, task)
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], error, host.now())
    else:
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)


def _about_model_calls(host: Host, task: Task) -> str:
    """How model calls contributed to the error. Begins with a space, or is empty."""
    failed, calling = tasks.failed_before(host.db, task), host.calling.get(task["id"])
    words = f" The last model call failed: {failed['error']}" if failed else ""
    if calling is not None:
        doing = "had been answering" if calling.answering else "had not answered"
        words += f" At the end, {calling.model} at {calling.address} {doing} for {calling.seconds():.0f} s."
    return words


def _gave_up_error(host: Host, task: Task) -> str:
    """The error for an agent that stopped too often. If it called no tool, its model probably can't call `finish`."""
    error = f"The agent stopped without calling finish, and did so again after it was told {MAX_NUDGES} times."
    if transcript.used_tools(host.db, task["id"]):
        return error
    return (
        f"{error} It called no tool in this task, so {task['model']} or its chat template probably supports none:"
        " choose a model that can call tools, or serve it with a chat template that has them."
        " Its last answer is kept as the task's result."
    )


async def _ended(host: Host, task: Task, exited: asyncio.Future[Exit]) -> None:
    """The run has ended without a request by this server."""
    if task["status"] == lifecycle.RUNNING:
        await _lost(host, task["id"], exited)


async def lost(host: Host, task_id: str) -> None:
    """Handles a task that should run but does not, when no server saw how its run ended."""
    await _lost(host, task_id, host.backend.last_exit(task_id))


async def _lost(host: Host, task_id: str, exited: Awaitable[Exit]) -> None:
    """Records a death of the agent, unless the run was stopped normally or together with the machine."""
    run = tasks.open_run(host.db, task_id)
    pis_words = (run and run["last_words"]) or ""
    try:
        exit = await exited
    except Unavailable as error:  # nobody can tell how it ended
        host.place.failed(str(error))
        exit = Exit(died=False)
    failpoints.point("container.lost")
    with contextlib.suppress(lifecycle.IllegalMove):
        if pis_words or exit.died:
            last_words = pis_words.strip() or exit.last_words or "none."
            tasks.died(host.db, task_id, host.now(), last_words=last_words)
        else:
            reason = exit.last_words or "The container was stopped."
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason=reason)
    tasks.end_run(host.db, task_id, host.now())


def fail(host: Host, task_id: str, error: str) -> None:
    host.keep_words(task_id)
    with contextlib.suppress(lifecycle.IllegalMove):
        tasks.apply(host.db, task_id, "failed", host.now(), error=error)
