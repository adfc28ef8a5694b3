"""Keeps what runs in step with what the rows say should run; at start it takes up what an earlier server left."""

import asyncio
import logging

from agentcontainer_local import lifecycle, sandbox, tasks
from agentcontainer_local.host import Host
from agentcontainer_local.run import OpenDoor, clear_away, died, name_of, remove_workspace, run

log = logging.getLogger(__name__)

TASK_LABEL = "agentcontainer.task"


async def supervise(host: Host, open_door: OpenDoor) -> None:
    """Runs until cancelled; then lets go of the runs, whose containers go on."""
    runs: dict[str, asyncio.Task] = {}
    try:
        await _take_up(host, open_door, runs)
        while True:
            changed = host.changed.mark()
            _reap(runs)
            _start_pending(host, open_door, runs)
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
    """Oldest first, up to the free room."""
    for task in tasks.with_status(host.db, lifecycle.PENDING):
        if len(runs) >= host.settings.max_running:
            return
        if task["id"] not in runs:
            runs[task["id"]] = asyncio.create_task(run(host, task["id"], open_door), name=f"run {task['id']}")


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
    for task in tasks.ended_with_workspace(host.db):
        await remove_workspace(host, task["id"])


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
    for task in tasks.with_status(host.db, lifecycle.RUNNING):
        tasks.apply(host.db, task["id"], "interrupted", host.now(), reason="The server was stopped.")
        await host.sandbox.stop(name_of(task["id"]), 0)
        if (record := tasks.open_run(host.db, task["id"])) is not None:
            tasks.end_run(host.db, record["id"], host.now())
