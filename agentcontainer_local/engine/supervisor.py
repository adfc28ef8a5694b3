"""Makes the running containers match the rows. At the start it adopts the runs of an earlier server."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run import GuestOf, clear_away, lost, remove_workspace, run, tell
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Found
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.store import clock_steps, tasks
from agentcontainer_local.store.db import ALL, Row

log = logging.getLogger(__name__)

TIDY_SECONDS = 10
DISCARD_TRIES = 5
RETRY_SECONDS = 2  # pause after a failure
# between two checks of the backend: while containers can run, and while they can't
LOOK_SECONDS, LOOK_AGAIN_SECONDS = 5, 1

Runs = dict[str, asyncio.Task[None]]  # the worker of each task, by task id
FoundRuns = dict[str, Found]  # by task id


async def supervise(host: Host, guest_of: GuestOf) -> None:
    """Runs until it is cancelled. Then it leaves the runs; their containers continue."""
    runs: Runs = {}
    looking = asyncio.create_task(_look(host), name="look at the place")
    try:
        began = host.steady()
        everything = await _first_found(host)
        failpoints.point("supervisor.looked")
        _clear_orphans(host, runs, everything)
        found = _by_task(everything)
        _exclude_waiting_time(host, found, timedelta(seconds=host.steady() - began))
        while True:
            changed, look_again = host.changed.mark(), host.look_again.mark()
            _reap(host, runs)
            _continue_running(host, guest_of, runs, found)
            _start_pending(host, guest_of, runs, found)
            _clear_ended(host, runs)
            found = {}  # from here on, this server has started everything that runs
            await host.now.wait({changed, look_again, *runs.values()}, host.place.wait_seconds() or None)
    finally:
        looking.cancel()
        for running in runs.values():
            running.cancel()
        await asyncio.gather(looking, *runs.values(), return_exceptions=True)


async def _look(host: Host) -> None:
    """Checks regularly whether containers can run, and wakes the waiting tasks when they can again."""
    while True:
        try:
            await host.backend.ready()
        except (SandboxError, OSError) as error:
            host.place.failed(str(error))
        else:
            if host.place.reason is not None:
                host.place.looks_well()
                host.look_again.set()
        await host.now.look_again(LOOK_SECONDS if host.place.reason is None else LOOK_AGAIN_SECONDS)


async def _first_found(host: Host) -> Sequence[Found]:
    """The existing runs, as soon as the backend answers. Until then tasks wait, and everything else is served."""
    while True:
        try:
            found = await host.backend.found()
            host.place.looks_well()
            return found
        except SandboxError as error:
            host.place.failed(str(error))
        await host.now.look_again(LOOK_AGAIN_SECONDS)


def _by_task(found: Sequence[Found]) -> FoundRuns:
    return {one.task_id: one for one in found if one.task_id is not None}


def _reap(host: Host, runs: Runs) -> None:
    """Removes workers that have ended. After a failure the task pauses; then its rows lead to another try."""
    for task_id, running in list(runs.items()):
        if running.done():
            del runs[task_id]
            if error := running.exception():
                _report(host, task_id, error)
                runs[task_id] = asyncio.create_task(_again(host, task_id), name=f"pause {task_id}")


def _report(host: Host, task_id: str, error: BaseException) -> None:
    if isinstance(error, Unavailable):
        host.place.failed(str(error), start=_is_pending(host, task_id))
    elif isinstance(error, SandboxError):
        log.warning("a run failed and is retried task=%s: %s", task_id, error)
    else:
        log.error("a run failed unexpectedly and is retried task=%s", task_id, exc_info=error)


async def _again(host: Host, task_id: str) -> None:
    """Pauses. Afterwards a pending or running task is continued from its row. If the task waits, its container may
    still run, so it is cleaned up here."""
    await host.now.sleep(max(RETRY_SECONDS, host.place.wait_seconds()))
    with contextlib.suppress(LookupError):  # a container without a task
        if tasks.get(host.db, task_id)["status"] in (lifecycle.HIBERNATING, lifecycle.AWAITING_INPUT):
            await clear_away(host, task_id)


def _alive(host: Host, task_id: str, found: FoundRuns) -> Found | None:
    """The task's live run, if its row is open too. If it is not open, the run is about to be stopped."""
    its = found.get(task_id)
    return its if its is not None and its.alive and tasks.open_run(host.db, task_id) else None


def _continue_running(host: Host, guest_of: GuestOf, runs: Runs, found: FoundRuns) -> None:
    """Continues running tasks that have no worker here: they are from an earlier server, or their worker failed."""
    for task_id in tasks.with_status(host.db, lifecycle.RUNNING):
        if task_id not in runs:
            runs[task_id] = asyncio.create_task(_attend(host, task_id, guest_of, found))


async def _attend(host: Host, task_id: str, guest_of: GuestOf, found: FoundRuns) -> None:
    alive = _alive(host, task_id, found or _by_task(await host.backend.found()))
    failpoints.point("supervisor.attending")
    if alive:
        await run(host, task_id, guest_of, alive)
    else:
        record = tasks.open_run(host.db, task_id)
        await lost(host, task_id)
        await clear_away(host, task_id)
        if record is not None:
            tell(host, record["id"])


def _exclude_waiting_time(host: Host, found: FoundRuns, waited: timedelta) -> None:
    """Excludes time from the tasks' container time: while this server waited for the backend, agents could not reach
    it. If a container ended while no server ran, its time counts up to the end of the earlier server."""
    for task_id in tasks.with_status(host.db, lifecycle.RUNNING):
        away = timedelta() if _alive(host, task_id, found) else host.away
        clock_steps.not_counted(host.db, task_id, away + waited)


def _start_pending(host: Host, guest_of: GuestOf, runs: Runs, found: FoundRuns) -> None:
    """Starts pending tasks, oldest first, up to the limit. If more wait, ends runs of idle conversations."""
    room = _room(host, runs)
    waiting = _waiting(host, runs, room)
    if host.place.reason is not None:
        waiting.sort(key=host.place.failures)  # a start can fail for one task only, so try the others first
    leaving = sum(tasks.open_run(host.db, task_id) is None for task_id in runs) if waiting[room:] else 0
    for task_id in waiting[:room]:
        alive = _alive(host, task_id, found)
        runs[task_id] = asyncio.create_task(run(host, task_id, guest_of, alive), name=f"run {task_id}")
    if host.place.reason is None:
        _end_idle(host, runs, len(waiting) - room - leaving)


def _waiting(host: Host, runs: Runs, room: int) -> list[str]:
    """Pending tasks without a worker: as many as fit, and one more for each run that could make room."""
    most = ALL if host.place.reason is not None else room + 2 * len(runs) + 1
    return [id for id in tasks.with_status(host.db, lifecycle.PENDING, most=most) if id not in runs]


def _is_pending(host: Host, task_id: str) -> bool:
    try:
        status: str = tasks.get(host.db, task_id)["status"]
    except LookupError:  # the key of an orphan
        return False
    return status == lifecycle.PENDING


def _room(host: Host, runs: Runs) -> int:
    """How many more tasks may start. While containers can't run, one task at a time is tried, with pauses."""
    room = max(0, host.settings.max_running - len(runs))
    if host.place.reason is None:
        return room
    tried = any(_is_pending(host, task_id) for task_id in runs)
    return 0 if tried or host.place.wait_seconds() > 0 else min(room, 1)


def _end_idle(host: Host, runs: Runs, wanted: int) -> None:
    """Ends the runs of the `wanted` longest idle conversations. Their workers notice it and end."""
    idle = [task_id for task_id in tasks.idle(host.db) if task_id in runs]
    for task_id in idle[: max(0, wanted)]:
        tasks.end_run(host.db, task_id, host.now())


def _clear_ended(host: Host, runs: Runs) -> None:
    """Cleans up after tasks that ended without a run (hibernating, idle), and removes workspaces that are due."""
    over = tasks.retention.due(host.context, host.crowded)
    _do(runs, tasks.ended_with_container(host.db), lambda task_id: clear_away(host, task_id))
    _do(runs, over, lambda task_id: remove_workspace(host, task_id))


async def tidy(host: Host) -> None:
    """Waits until the supervisor has cleaned up after ended tasks, at most TIDY_SECONDS.

    A permanent server's successor would clean up, but a temporary server (of `run` or the demo) has none.
    """
    for _ in range(round(TIDY_SECONDS / 0.05)):
        due = tasks.retention.due(host.context, crowded=False)
        if not tasks.ended_with_container(host.db) and not due:
            return
        await asyncio.sleep(0.05)


def _do(runs: Runs, found: list[Row], work: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    for task in found:
        if task["id"] not in runs:
            runs[task["id"]] = asyncio.create_task(work(task["id"]), name=f"clear {task['id']}")


def _clear_orphans(host: Host, runs: Runs, found: Sequence[Found]) -> None:
    """Ends runs whose task waits or is over, or does not exist in this store."""
    at_work = set(tasks.with_status(host.db, lifecycle.PENDING, lifecycle.RUNNING))
    for number, orphan in enumerate(found):
        if orphan.task_id not in at_work:
            runs[f"orphan {number}"] = asyncio.create_task(_end_orphan(host, orphan))


async def _end_orphan(host: Host, orphan: Found) -> None:
    try:
        task = tasks.get(host.db, orphan.task_id or "")
    except LookupError:
        await _discard(host, orphan)
    else:
        if orphan.alive or task["status"] in lifecycle.TERMINAL:
            await clear_away(host, task["id"])


async def _discard(host: Host, orphan: Found) -> None:
    """Removes what no row names. If this fails, nothing else removes it until the next server starts."""
    for tries_left in reversed(range(DISCARD_TRIES)):
        try:
            await host.backend.discard(orphan)
            return
        except SandboxError as error:
            if not tries_left:
                raise
            log.warning("a container without a task was not removed, trying again: %s", error)
        await host.now.sleep(max(RETRY_SECONDS, host.place.wait_seconds()))


async def suspend(host: Host) -> None:
    """Stops and keeps every container of this store. The next server continues them. No stop counts as a death."""
    try:
        found = _by_task(await host.backend.found())
    except Unavailable as error:
        log.error("no container could be stopped: %s", error)
        return
    running = [task_id for task_id, its in found.items() if its.alive]
    at_work = tasks.with_status(host.db, lifecycle.RUNNING)
    failpoints.point("supervisor.suspending")
    runs = [tasks.open_run(host.db, task_id) for task_id in {*running, *at_work}]
    stopped = await asyncio.gather(
        *(clear_away(host, task_id) for task_id in {*running, *at_work}), return_exceptions=True
    )
    for failure in (one for one in stopped if isinstance(one, Exception)):
        log.error("a container could not be stopped: %s", failure)
    for record in filter(None, runs):
        tell(host, record["id"])
