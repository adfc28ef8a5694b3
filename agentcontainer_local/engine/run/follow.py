"""What is done while a task's container runs: deadlines, idleness, an agent that settles, and one that is lost."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
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
from agentcontainer_local.engine.run.names import name_of
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import enforcement
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Row

LOOK_SECONDS = 2
# Exit codes. The guest ends with 0 on SIGTERM; 143 and 137 are what Podman sees of one that did not, or not in time.
STOPS = (0, 143)
STOPS_UNSEEN = (0, 143, 137, None)


async def follow(host: Host, task_id: str, pid: int, broken: asyncio.Future[podman.Broken], directory: Path) -> None:
    """Acts on what the rows say, until the task is at rest or over, or its container has ended or takes too much.

    `directory`: where the guest reaches us. Without it the agent would wait until its time is over.
    """
    exited = asyncio.ensure_future(host.sandbox.exited(pid))
    removed = asyncio.create_task(_removed(directory), name=f"directory of {task_id}")
    rest = _Rest(host.steady)
    try:
        while True:
            changed = host.changed.mark(task_id)
            task = tasks.get(host.db, task_id)
            if broken.done():
                return fail(host, task_id, enforcement.error(broken.result()))
            if exited.done():
                return await _ended(host, task)
            if removed.done():
                return _cut_off(host, task, pid)
            action = due(host, task, rest.seconds(task))
            if isinstance(action, Wait):
                watched = {changed, exited, broken, removed}
                await asyncio.wait(watched, timeout=action.seconds, return_when=asyncio.FIRST_COMPLETED)
                continue
            act(host, task, action)
            if isinstance(action, EndRun | OutOfTime | Restart):
                return tasks.end_run(host.db, task_id, host.now())  # at once: a message from here on starts another
            await asyncio.sleep(0)
    finally:
        for watching in (exited, removed):
            watching.cancel()
        await asyncio.wait({exited, removed})


async def _removed(directory: Path) -> None:
    """Returns once the directory is gone; one that was made again is another one."""
    with contextlib.suppress(OSError):
        ours = directory.stat().st_ino
        while directory.stat().st_ino == ours:
            await asyncio.sleep(LOOK_SECONDS)


def _cut_off(host: Host, task: Row, pid: int) -> None:
    """Podman may have lost its own files with the directory, so the container is ended without it."""
    host.sandbox.kill(pid)
    if task["status"] == lifecycle.RUNNING:
        tasks.apply(host.db, task["id"], "interrupted", host.now(), reason="The runtime directory was removed.")
    tasks.end_run(host.db, task["id"], host.now())


class _Rest:
    """For how long a conversation has waited for its next message, or a task has slept."""

    def __init__(self, steady: Callable[[], float]):
        self._steady = steady
        self._what: object = None
        self._since = 0.0

    def seconds(self, task: Row) -> float:
        what = "asleep" if falls_asleep(task) else (task["status"], task["turn_number"])
        if self._what != what:
            self._what, self._since = what, self._steady()
        return self._steady() - self._since


def due(host: Host, task: Row, resting_seconds: float = 0) -> Action:
    """What is due for the task's open run now."""
    run = tasks.open_run(host.db, task["id"])
    max_idle_seconds = host.settings.idle_seconds
    if host.wanted_room > 0 and task["status"] == lifecycle.AWAITING_INPUT:
        host.wanted_room -= 1
        max_idle_seconds = 0
    settled = run is not None and run["settled_at"] is not None
    seen = Seen(settled and bool(transcript.waiting(host.db, task["id"])), resting_seconds, max_idle_seconds)
    return decide(task, run, host.now(), seen)


def act(host: Host, task: Row, action: Action) -> None:
    """Does what is due, all but the end of the run."""
    if isinstance(action, AskToFinish | EndTurn | Fail | GiveUp | Nudge):
        failpoints.point("run.settled")
    db, task_id, now = host.db, task["id"], host.now()
    match action:
        case WrapUp():
            tasks.runs.told_to_wrap_up(db, tasks.open_run(db, task_id)["id"], now)
        case Nudge():
            tasks.runs.asked_again(db, tasks.open_run(db, task_id)["id"], now, "nudged")
        case AskToFinish():
            tasks.runs.asked_again(db, tasks.open_run(db, task_id)["id"], now, "asked_to_finish")
        case EndTurn(error):
            tasks.end_turn(db, task_id, error, now)
        case Fail(error):
            tasks.apply(db, task_id, "failed", now, error=error)
        case GiveUp():
            answer = transcript.last_said(db, task_id)
            tasks.apply(db, task_id, "failed", now, error=_unfinished(host, task), result=answer)
        case Restart(reason):
            tasks.apply(db, task_id, "interrupted", now, reason=reason)
        case OutOfTime(error):
            _out_of_time(host, task, error)
    host.changed.set(task_id)


def _out_of_time(host: Host, task: Row, error: str) -> None:
    host.keep_words(task["id"])
    error += _of_the_model(host, task)
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], error, host.now())
    else:
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)


def _of_the_model(host: Host, task: Row) -> str:
    """What the model had to do with it: its last call failed, or is at work. Begins with a space, or is empty."""
    failed, calling = tasks.failed_before(host.db, task), host.calling.get(task["id"])
    words = f" The last model call failed: {failed['error']}" if failed else ""
    if calling is not None:
        doing = "had been answering" if calling.answering else "had not answered"
        words += f" At the end, {calling.model} at {calling.address} {doing} for {calling.seconds():.0f} s."
    return words


def _unfinished(host: Host, task: Row) -> str:
    """The agent stopped again and again. One that has not called any tool could not call `finish` either."""
    error = f"The agent stopped without calling finish, and did so again after it was told {MAX_NUDGES} times."
    if transcript.used_tools(host.db, task["id"]):
        return error
    return (
        f"{error} It called no tool in this task, so {task['model']} or its chat template probably supports none:"
        " choose a model that can call tools, or serve it with a chat template that has them."
        " Its last answer is kept as the task's result."
    )


async def _ended(host: Host, task: Row) -> None:
    """The container has ended by itself, or somebody else ended it."""
    if task["status"] == lifecycle.RUNNING:
        await lost(host, task["id"], seen=True)


async def lost(host: Host, task_id: str, seen: bool) -> None:
    """A running task has no running container. Its agent died, unless it was stopped in order or with the machine.

    While nobody looked (not `seen`) the guest would have waited to say that Pi had died: whatever else ended it then
    is a stop.
    """
    run = tasks.open_run(host.db, task_id)
    words = run and run["last_words"]
    try:
        code = await host.sandbox.exit_code(name_of(host, task_id))
        words = words or await host.sandbox.logs_tail(name_of(host, task_id), 4096)
    except podman.Unavailable as error:  # so nobody can say how it ended
        host.place.failed(str(error))
        code, words = STOPS[0], words or ""
    failpoints.point("container.lost")
    with contextlib.suppress(lifecycle.IllegalMove):
        if (run and run["last_words"]) or code not in (STOPS if seen else STOPS_UNSEEN):
            last_words = words.strip() or f"none; its exit code was {code}."
            tasks.died(host.db, task_id, host.now(), last_words=last_words)
        else:
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container was stopped.")
    tasks.end_run(host.db, task_id, host.now())
    host.changed.set(task_id)


def fail(host: Host, task_id: str, error: str) -> None:
    host.keep_words(task_id)
    with contextlib.suppress(lifecycle.IllegalMove):
        tasks.apply(host.db, task_id, "failed", host.now(), error=error)
    host.changed.set(task_id)
