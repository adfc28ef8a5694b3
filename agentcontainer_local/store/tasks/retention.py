"""Removes workspaces, events and files of ended tasks after their retention time. The tasks themselves stay."""

from datetime import datetime, timedelta
from itertools import accumulate

from agentcontainer_local.lifecycle import FAILED
from agentcontainer_local.process import failpoints
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.clock_steps import steady_date
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, Row, iso, rows, single
from agentcontainer_local.store.tasks.rows import ended_with_workspace

THINNED_AT_ONCE = 500
AT_ONCE = 20  # tasks in one pass, so that a pass does not block requests

GIVEN = (
    "SELECT file_id FROM task_inputs WHERE task_id = :task UNION SELECT file_id FROM task_outputs WHERE task_id = :task"
    " UNION SELECT file_id FROM message_inputs JOIN messages ON messages.id = message_id WHERE task_id = :task"
)
HANDED_OVER = "SELECT coalesce(sum(size_bytes), 0) FROM task_outputs JOIN files ON files.id = file_id"
NEEDED = (
    "EXISTS (SELECT 1 FROM task_inputs WHERE file_id = files.id)"
    " OR EXISTS (SELECT 1 FROM task_outputs WHERE file_id = files.id)"
    " OR EXISTS (SELECT 1 FROM message_inputs WHERE file_id = files.id)"
    " OR EXISTS (SELECT 1 FROM agent_version_files WHERE file_id = files.id)"
)


def kept_seconds(settings: Settings, status: str) -> int:
    """How long the workspace of a task with this final status is kept, in seconds."""
    kept = settings.workspace_retention_seconds
    return max(kept, settings.failed_workspace_retention_seconds) if status == FAILED else kept


def workspaces(
    db: Database, now: datetime, kept: timedelta, crowded: bool, failed: timedelta = timedelta()
) -> list[Row]:
    """Tasks whose workspace is to be removed now.

    These are the tasks whose retention time `kept` is over. If there are none and `crowded` (disk space is short), it
    is the one that ended first. `failed`: the retention time of failed tasks, if that is longer.
    """
    steady = steady_date(db, now)
    over = ended_with_workspace(db, steady - kept, failed_before=steady - max(kept, failed))
    return over or (ended_with_workspace(db, steady, 1) if crowded else [])


def due(context: Context, crowded: bool) -> list[Row]:
    """The same as `workspaces`, with the retention times of the settings."""
    settings = context.settings
    kept, failed = settings.workspace_retention_seconds, settings.failed_workspace_retention_seconds
    return workspaces(context.db, context.now(), timedelta(seconds=kept), crowded, timedelta(seconds=failed))


def too_old(db: Database, before: datetime) -> list[Row]:
    """Tasks that ended before `before` (a steady date) and were not swept yet, oldest first. At most AT_ONCE."""
    return rows(
        db,
        "SELECT id FROM tasks WHERE ended_on < ? AND swept_at IS NULL ORDER BY ended_on LIMIT ?",
        (iso(before), AT_ONCE),
    )


def too_much(db: Database, most_bytes: int) -> list[Row]:
    """The oldest ended tasks that have to be swept so that the output files of all tasks have at most `most_bytes`."""
    over = single(db, f"SELECT ({HANDED_OVER}) AS bytes")["bytes"] - most_bytes
    if over <= 0:
        return []
    oldest = rows(
        db,
        f"SELECT id, ({HANDED_OVER} WHERE task_id = tasks.id) AS bytes FROM tasks WHERE completed_at IS NOT NULL"
        " AND swept_at IS NULL AND EXISTS (SELECT 1 FROM task_outputs WHERE task_id = tasks.id)"
        " ORDER BY completed_at LIMIT ?",
        (AT_ONCE,),
    )
    before = accumulate((task["bytes"] for task in oldest), initial=0)
    return [task for task, gone in zip(oldest, before, strict=False) if gone < over]


def thin(db: Database, task_id: str) -> bool:
    """Removes up to THINNED_AT_ONCE of an ended task's events or activities. Returns whether there may be more: a task
    can have 200,000 of them."""
    for table in ("task_events", "activities"):
        sql = f"DELETE FROM {table} WHERE number IN (SELECT number FROM {table} WHERE task_id = ? LIMIT ?)"
        if db.conn.execute(sql, (task_id, THINNED_AT_ONCE)).rowcount == THINNED_AT_ONCE:
            return True
    return False


def sweep(db: Database, task_id: str, now: datetime) -> list[str]:
    """Removes an ended task's events, activities and files, except files that something else uses.

    Returns the names of the removed files' contents, which the caller deletes from disk afterwards.
    """
    with db.atomic():
        given = [file["file_id"] for file in rows(db, GIVEN, {"task": task_id})]
        for sql in (
            "DELETE FROM task_events WHERE task_id = ?",
            "DELETE FROM activities WHERE task_id = ?",
            "DELETE FROM deliveries WHERE task_id = ?",
            "DELETE FROM task_inputs WHERE task_id = ?",
            "DELETE FROM task_outputs WHERE task_id = ?",
            "DELETE FROM message_inputs WHERE message_id IN (SELECT id FROM messages WHERE task_id = ?)",
        ):
            db.conn.execute(sql, (task_id,))
        gone = [id for id in given if _forget(db, id)]
        db.conn.execute("UPDATE tasks SET swept_at = ? WHERE id = ?", (iso(now), task_id))
        db.touched(task_id)
        failpoints.point("task.swept")
        return gone


def _forget(db: Database, file_id: str) -> bool:
    return db.conn.execute(f"DELETE FROM files WHERE id = ? AND NOT ({NEEDED})", (file_id,)).rowcount > 0
