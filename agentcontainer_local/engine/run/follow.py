"""What is done while a task's container runs: deadlines, idleness, an agent that settles, and one that is lost."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.names import name_of
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import enforcement
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Row

MOST_NUDGES = 2
LAST_PART, MOST_LAST_SECONDS = 10, 300  # a tenth of the time, but not more, is kept for `finish`
LEAST_PARTED_SECONDS = 60
AT_ONCE = 1e-6  # look again
LIE_DOWN_SECONDS = 0.5
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
    idle = _Idle(host.steady)
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
            if task["status"] == lifecycle.RUNNING:
                wait = _due(host, task)
            elif task["status"] == lifecycle.AWAITING_INPUT:
                wait = _rest(host, idle.seconds(task))
            else:
                return await _let_lie_down(host, task, exited)
            if wait <= 0:
                return tasks.end_run(host.db, task_id, host.now())  # at once: a message from here on starts another
            await asyncio.wait({changed, exited, broken, removed}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
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


class _Idle:
    """For how long a conversation has waited for its next message."""

    def __init__(self, steady: Callable[[], float]):
        self._steady = steady
        self.turn: int | None = None
        self.since = 0.0

    def seconds(self, task: Row) -> float:
        if self.turn != task["turn_number"]:
            self.turn, self.since = task["turn_number"], self._steady()
        return self._steady() - self.since


def _rest(host: Host, idle_seconds: float) -> float:
    """How long an idle conversation's container may still run; 0 when its time is over or others wait for its room."""
    if host.wanted_room > 0:
        host.wanted_room -= 1
        return 0
    return max(0, host.settings.idle_seconds - idle_seconds)


async def _let_lie_down(host: Host, task: Row, exited: asyncio.Future) -> None:
    """An agent that asked for its sleep gets a moment to hear that it was granted: its session then says so.

    Even if the task is woken within that moment.
    """
    deadline = host.steady() + LIE_DOWN_SECONDS
    while _lies_down(task) and (left := deadline - host.steady()) > 0:
        changed = host.changed.mark(task["id"])
        if tasks.open_run(host.db, task["id"])["settled_at"] is not None:
            return
        await asyncio.wait({changed, exited}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        task = tasks.get(host.db, task["id"])


def _lies_down(task: Row) -> bool:
    woken = task["status"] == lifecycle.PENDING and task["to_tell"] is not None
    return woken or task["status"] == lifecycle.HIBERNATING


def _due(host: Host, task: Row) -> float:
    """Does what is due for a running task; answers for how many seconds nothing else is, 0 when this run is to end."""
    run = tasks.open_run(host.db, task["id"])
    used_seconds = (tasks.container_ms(task, host.now()) - task["turn_used_ms"]) / 1000
    if used_seconds >= task["max_runtime_seconds"]:
        _out_of_time(host, task)
        return 0
    if not tasks.fits(task, run) and (run["opened_at"] is None or run["settled_at"] is not None):
        tasks.apply(host.db, task["id"], "interrupted", host.now(), reason=_changed(task))
        return 0
    if run["settled_at"] is not None and (run["opened_at"] is None or _has_all(host, task)):
        _after_settling(host, task, run)
        host.changed.set(task["id"])
        return AT_ONCE
    soft = _soft_seconds(task)
    if soft is not None and run["soft_told_at"] is None:
        if used_seconds < soft:
            return soft - used_seconds
        tasks.runs.told_to_wrap_up(host.db, run["id"], host.now())
        host.changed.set(task["id"])
    return task["max_runtime_seconds"] - used_seconds


def _changed(task: Row) -> str:
    if task["learned_window"] is not None:
        return f"The model's context window has {task['learned_window']} tokens: Pi is started anew to keep to it."
    return "Pi is started anew, in its new mode."


def _soft_seconds(task: Row) -> float | None:
    """When the agent is told to wrap up. Where nobody said when, the last part of a longer time is kept for that."""
    most = task["max_runtime_seconds"]
    if task["soft_finish_after_seconds"] is not None or most < LEAST_PARTED_SECONDS:
        return task["soft_finish_after_seconds"]
    return most - min(most / LAST_PART, MOST_LAST_SECONDS)


def _has_all(host: Host, task: Row) -> bool:
    """An autonomous agent that settles may have more to hear; the messages of a conversation wait for their turn."""
    return task["mode"] == "conversation" or not transcript.waiting(host.db, task["id"])


def _out_of_time(host: Host, task: Row) -> None:
    limit = f"{task['max_runtime_seconds']} seconds, its maxRuntimeSeconds"
    host.keep_words(task["id"])
    if task["mode"] == "conversation":
        error = f"The turn ran for {limit}, without an answer.{_of_the_model(host, task)}"
        tasks.end_turn(host.db, task["id"], error, host.now())
    else:
        error = f"The task ran for {limit}, without finishing.{_of_the_model(host, task)}"
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)


def _of_the_model(host: Host, task: Row) -> str:
    """What the model had to do with it: its last call failed, or is at work. Begins with a space, or is empty."""
    failed, calling = tasks.failed_before(host.db, task), host.calling.get(task["id"])
    words = f" The last model call failed: {failed['error']}" if failed else ""
    if calling is not None:
        doing = "had been answering" if calling.answering else "had not answered"
        words += f" At the end, {calling.model} at {calling.address} {doing} for {calling.seconds():.0f} s."
    return words


def _after_settling(host: Host, task: Row, run: Row) -> None:
    """Pi has nothing more to do, and `finish` was not accepted; of a conversation it is the answer."""
    failpoints.point("run.settled")
    error = run["settled_error"] and (task["budget_error"] or run["settled_error"])
    if error is not None and tasks.ask_to_finish(host.db, task, run, host.now()):
        return
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], error, host.now())
    elif error is not None:
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)
    elif run["nudges"] >= MOST_NUDGES:
        error, answer = _unfinished(host, task), transcript.last_said(host.db, task["id"])
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error, result=answer)
    else:
        tasks.runs.asked_again(host.db, run["id"], host.now(), "nudged")


def _unfinished(host: Host, task: Row) -> str:
    """The agent stopped again and again. One that has not called any tool could not call `finish` either."""
    error = f"The agent stopped without calling finish, and did so again after it was told {MOST_NUDGES} times."
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
