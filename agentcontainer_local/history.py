"""What happened to a task, in order: one row an event, never changed, read as pages and as a stream."""

import json
from datetime import datetime

from sqlite_utils import Database

from agentcontainer_local.db import Row, dumps, iso, rows

TASK_UPDATED = "task.updated"
MESSAGE_CREATED = "message.created"
MESSAGE_UPDATED = "message.updated"
ACTIVITY_STARTED = "activity.started"
ACTIVITY_COMPLETED = "activity.completed"
NOTICE = "notice"                   # what an operator may want to know: a retry, a lost container, a refused connection


def append(db: Database, task_id: str, type: str, data: dict, now: datetime) -> int:
    """Adds an event and answers its number, which grows over all tasks of the store."""
    return db.conn.execute(
        "INSERT INTO task_events (task_id, type, data, created_at) VALUES (?, ?, ?, ?)",
        (task_id, type, dumps(data), iso(now)),
    ).lastrowid


def since(db: Database, task_id: str, after: int, limit: int = 1000) -> list[Row]:
    """Events with a number above `after`, oldest first, `data` as a dict."""
    found = rows(
        db,
        "SELECT number, task_id, type, data, created_at FROM task_events"
        " WHERE task_id = ? AND number > ? ORDER BY number LIMIT ?",
        (task_id, after, limit),
    )
    return [{**event, "data": json.loads(event["data"])} for event in found]
