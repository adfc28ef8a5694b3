"""Hibernation: an autonomous task pauses itself; a deadline, a message or an outside event wakes it."""

from datetime import datetime

from agentcontainer_local import lifecycle
from agentcontainer_local.errors import Conflict
from agentcontainer_local.process import failpoints
from agentcontainer_local.schemas import MessageOverrides
from agentcontainer_local.store import transcript
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, iso, rows
from agentcontainer_local.store.rows import Task
from agentcontainer_local.store.tasks import overrides as override
from agentcontainer_local.store.tasks.rows import get, owned
from agentcontainer_local.store.tasks.transitions import apply


def sleep(
    db: Database, task_id: str, until: datetime, reason: str | None, now: datetime, *, relative: bool = False
) -> Task:
    """Puts the task to sleep until `until`. `relative`: the agent asked for a duration, so `until` moves when the wall
    clock is set. Raises IllegalMove unless the task is running, and Conflict for a conversation."""
    with db.atomic():
        if get(db, task_id)["mode"] == "conversation":
            raise Conflict("A conversation can't hibernate. End the turn: the next message continues it.")
        db.conn.execute(
            "UPDATE tasks SET wake_due_id = ?, hibernate_is_relative = ? WHERE id = ?",
            (db.ids.new("due", task_id), relative, task_id),
        )
        return apply(db, task_id, "slept", now, hibernate_until=until, reason=reason)


def wake(
    context: Context,
    account_id: str,
    task_id: str,
    kind: str,
    message: str | None,
    due_id: str | None,
    overrides: MessageOverrides | None,
) -> Task:
    """Wakes the task. `kind`: `message` (with `message`) or `external_wake`. If `due_id` is given, the task is only
    woken if that is its current sleep. Raises Conflict otherwise, and if the task is not hibernating."""
    db, now = context.db, context.now()
    with db.atomic():
        task = owned(db, account_id, task_id)
        if task["status"] != lifecycle.HIBERNATING:
            raise Conflict(f"The task is {task['status']}, not hibernating.", status=task["status"])
        if due_id is not None and due_id != task["wake_due_id"]:
            raise Conflict("The task was woken in the meantime, and hibernates again.")
        if asked := override.checked(context, task, overrides):
            override.take(db, task, asked)
        return _wake(db, task, kind, message, now)


def wake_due(db: Database, now: datetime) -> list[Task]:
    """Wakes the tasks whose deadline has passed."""
    with db.atomic():
        due = rows(
            db,
            "SELECT * FROM tasks WHERE status = 'hibernating' AND hibernate_until <= ? ORDER BY number",
            (iso(now),),
            of=Task,
        )
        return [_wake(db, task, "deadline", None, now) for task in due]


def _wake(db: Database, task: Task, reason: str, message: str | None, now: datetime) -> Task:
    if message is not None:
        transcript.add(db, task, "user", message, "queued", now)
    failpoints.point("task.waking")
    db.conn.execute("UPDATE tasks SET to_tell = ?, wake_due_id = NULL WHERE id = ?", (reason, task["id"]))
    return apply(db, task["id"], "woken", now, reason=reason)
