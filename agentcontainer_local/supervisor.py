"""Keeps what runs in step with what the rows say should run; at start it takes up what an earlier server left."""

import asyncio
import logging
from datetime import timedelta

from agentcontainer_local import lifecycle, sandbox, tasks
from agentcontainer_local.host import Host
from agentcontainer_local.run import OpenDoor, clear_away, died, name_of, remove_workspace, run

log = logging.getLogger(__name__)

TASK_LABEL = "agentcontainer.task"
RETRY_SECONDS = 2                   # before Podman is asked again for what it would not do


async def supervise(host: Host, open_door: OpenDoor) -> None:
    """Runs until cancelled; then lets go of the runs, whose containers go on."""
    runs: dict[str, asyncio.Task] = {}
    try:
        await _take_up(host, open_door, runs)
        while True:
            changed = host.changed.mark()
            _reap(runs)
            _start_pending(host, open_door, runs)
            _remove_ended(host, runs)
            await asyncio.wait({changed, *runs.values()}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for running in runs.values():
            running.cancel()
        await asyncio.gather(*runs.values(), return_exceptions=True)


def _reap(runs: dict[str, asyncio.Task]) -> None:
    for task_id, running in list(runs.items()):
        if running.done():
            del runs[task_id]
            if error := running.exception():
                log.error("run ended badly task=%s", task_id, exc_info=error)


def _start_pending(host: Host, open_door: OpenDoor, runs: dict[str, asyncio.Task]) -> None:
    """Oldest first, up to the free room; idle conversations are asked to make some."""
    waiting = [task["id"] for task in tasks.with_status(host.db, lifecycle.PENDING) if task["id"] not in runs]
    room = max(0, host.settings.max_running - len(runs))
    for task_id in waiting[:room]:
        runs[task_id] = asyncio.create_task(run(host, task_id, open_door), name=f"run {task_id}")
    crowded = len(waiting) > room
    if crowded and not host.crowded:
        asyncio.get_running_loop().call_soon(host.changed.set)
    host.crowded = crowded


def _remove_ended(host: Host, runs: dict[str, asyncio.Task]) -> None:
    """What ended while no run had it (asleep, idle, or waiting for its retention) is removed here."""
    before = host.now() - timedelta(seconds=host.settings.workspace_retention_seconds)
    for task in tasks.ended_with_workspace(host.db, before):
        if task["id"] not in runs:
            runs[task["id"]] = asyncio.create_task(_remove(host, task["id"]), name=f"remove {task['id']}")


async def _remove(host: Host, task_id: str) -> None:
    try:
        await host.sandbox.remove(name_of(task_id))
        await remove_workspace(host, task_id)
    except sandbox.SandboxError as error:
        log.warning("not removed yet task=%s: %s", task_id, error)
        await asyncio.sleep(RETRY_SECONDS)


async def _take_up(host: Host, open_door: OpenDoor, runs: dict[str, asyncio.Task]) -> None:
    """Containers that go on get their door again; what has no business any more is removed."""
    found = {container.labels.get(TASK_LABEL): container for container in await host.sandbox.found()}
    for task in tasks.with_status(host.db, lifecycle.PENDING, lifecycle.RUNNING):
        container = found.pop(task["id"], None)
        if container is not None and container.state == "running":
            runs[task["id"]] = asyncio.create_task(run(host, task["id"], open_door, container))
        elif task["status"] == lifecycle.RUNNING:
            await _take_down(host, task["id"], container)
    for task_id, container in found.items():
        await _end_orphan(host, task_id, container)


async def _take_down(host: Host, task_id: str, container: sandbox.Found | None) -> None:
    """Its container ended while nobody looked. A stop of the machine is not the agent's death."""
    if container is not None and container.state == "exited":
        await died(host, task_id)
    else:
        reason = "The machine stopped, or the container was removed."
        tasks.apply(host.db, task_id, "interrupted", host.now(), reason=reason)
    await clear_away(host, task_id)


async def _end_orphan(host: Host, task_id: str | None, container: sandbox.Found) -> None:
    """A container whose task has ended, or is at rest, or is none of this store's."""
    try:
        await clear_away(host, tasks.get(host.db, task_id)["id"])
    except LookupError:
        log.warning("removing a container without a task container=%s", container.name)
        await host.sandbox.remove(container.name)


async def suspend(host: Host) -> None:
    """Stops every run's container and keeps it; the next server goes on with them. Nobody died."""
    at_work = tasks.with_status(host.db, lifecycle.RUNNING, lifecycle.AWAITING_INPUT)
    await asyncio.gather(*(clear_away(host, task["id"]) for task in at_work))
