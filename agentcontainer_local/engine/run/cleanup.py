"""What happens to a container and its volumes after a run: they are kept for the next run, or removed."""

import logging

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import iso

log = logging.getLogger(__name__)


async def clear_away(host: Host, task_id: str) -> None:
    """Makes the container match the task's row: stops and keeps it, or removes it if the task has ended."""
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        if task["status"] == lifecycle.RUNNING:
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container is stopped.")
        tasks.end_run(host.db, task_id, host.now())  # from here on, a message starts a new run
    failpoints.point("run.ended")
    if task["status"] not in lifecycle.TERMINAL:
        await host.backend.stop(task_id)
        failpoints.point("container.stopped")
        await _note_size(host, task_id)
    else:
        kept = tasks.retention.kept_seconds(host.settings, task["status"])
        if kept:
            await _note_size(host, task_id)
        await _remove_container(host, task_id)
        if not kept:
            await remove_workspace(host, task_id)


async def _note_size(host: Host, task_id: str) -> None:
    """Stores the size of what is kept. The account's `checkpointStorage` is the sum of these."""
    try:
        kept_bytes = await host.backend.kept_bytes(task_id)
    except Unavailable:
        raise
    except SandboxError as error:
        log.warning("%s task=%s", error, task_id)
        return
    host.db.conn.execute("UPDATE tasks SET kept_bytes = ? WHERE id = ?", (kept_bytes, task_id))


async def _remove_container(host: Host, task_id: str) -> None:
    await host.backend.remove(task_id)
    failpoints.point("container.removed")
    host.db.conn.execute("UPDATE tasks SET has_container = 0 WHERE id = ?", (task_id,))


async def remove_workspace(host: Host, task_id: str) -> None:
    failpoints.point("volumes.removing")
    await host.backend.forget(task_id)
    host.db.conn.execute(
        "UPDATE tasks SET workspace_removed_at = ?, kept_bytes = 0 WHERE id = ?", (iso(host.now()), task_id)
    )
