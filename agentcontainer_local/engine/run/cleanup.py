"""What becomes of a container and its volumes when a run is over: kept for the next one, or removed."""

import contextlib
import logging

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run import uids
from agentcontainer_local.engine.run.names import directory_of, name_of, volumes_of
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import iso

log = logging.getLogger(__name__)


async def clear_away(host: Host, task_id: str) -> None:
    """Brings what is left of a run in line with the task's row: the container is stopped and kept, or removed."""
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        if task["status"] == lifecycle.RUNNING:
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container is stopped.")
        tasks.end_run(host.db, task_id, host.now())  # from here on a message starts a new run
    failpoints.point("run.ended")
    if task["status"] not in lifecycle.TERMINAL:
        await host.sandbox.stop(name_of(host, task_id), 0)
        failpoints.point("container.stopped")
        await _note_size(host, task_id)
    else:
        kept = tasks.retention.kept_seconds(host.settings, task["status"])
        if kept:
            await _note_size(host, task_id)
        await _remove_container(host, task_id)
        if not kept:
            await remove_workspace(host, task_id)
    host.changed.set(task_id)


async def _note_size(host: Host, task_id: str) -> None:
    """Of what is kept: the account's `checkpointStorage` is their sum."""
    try:
        kept_bytes = await host.sandbox.disk_bytes(name_of(host, task_id))
    except OSError as error:
        log.warning("what is kept could not be measured task=%s: %s", task_id, error)
        return
    host.db.conn.execute("UPDATE tasks SET kept_bytes = ? WHERE id = ?", (kept_bytes, task_id))


async def _remove_container(host: Host, task_id: str) -> None:
    await host.sandbox.remove(name_of(host, task_id))
    failpoints.point("container.removed")
    host.db.conn.execute("UPDATE tasks SET has_container = 0 WHERE id = ?", (task_id,))
    with contextlib.suppress(FileNotFoundError):
        for entry in (directory := directory_of(host, task_id)).iterdir():
            entry.unlink()
        directory.rmdir()


async def remove_workspace(host: Host, task_id: str) -> None:
    failpoints.point("volumes.removing")
    for name in volumes_of(name_of(host, task_id)):
        await host.sandbox.remove_volume(name)
    failpoints.point("volumes.removed")
    await uids.released(host, tasks.get(host.db, task_id))
    host.db.conn.execute(
        "UPDATE tasks SET workspace_removed_at = ?, kept_bytes = 0, uid = NULL, slot = NULL WHERE id = ?",
        (iso(host.now()), task_id),
    )
