"""The events of a task, in order. Each is a row that never changes. They are read as pages and as a stream."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.store.db import Database, Row, dumps, each, insert, iso

TASK_UPDATED = "task.updated"
MESSAGE_CREATED = "message.created"
MESSAGE_UPDATED = "message.updated"
ACTIVITY_STARTED = "activity.started"
ACTIVITY_COMPLETED = "activity.completed"
NOTICE = "notice"  # for operators: a retry, a lost container, a refused connection


def append(db: Database, task_id: str, type: str, data: dict[str, Any], now: datetime) -> int:
    """Adds an event. Returns its number, which increases over all tasks of the store."""
    db.touched(task_id)
    return insert(
        db,
        "INSERT INTO task_events (task_id, type, data, created_at) VALUES (?, ?, ?, ?)",
        (task_id, type, dumps(data), iso(now)),
    )


PAGE_UP = "SELECT * FROM task_events WHERE task_id = ? AND number > ? ORDER BY number LIMIT ?"
PAGE_DOWN = "SELECT * FROM task_events WHERE task_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def page(db: Database, task_id: str, limit: int, after: int, ascending: bool) -> Iterator[Row]:
    return each(db, PAGE_UP if ascending else PAGE_DOWN, (task_id, after, limit))


def some(db: Database, task_id: str, after: int, most_characters: int) -> list[Row]:
    """The events after number `after`, until their data has `most_characters`. At least one, if there is any."""
    found, size = [], 0
    for event in each(db, PAGE_UP, (task_id, after, -1)):
        found.append(event)
        size += len(event["data"])
        if size >= most_characters:
            break
    return found


def shape(event: Row) -> schemas.TaskEvent:
    return schemas.TaskEvent(
        id=event["number"], event=event["type"], data=json.loads(typed(event)), created_at=event["created_at"]
    )


def server_sent(event: Row) -> str:
    """The event in the format of server-sent events."""
    return f"id: {event['number']}\nevent: {event['type']}\ndata: {typed(event)}\n\n"


def typed(event: Row) -> str:
    """The event's data, with its type as first field `type`, so that readers can tell events apart."""
    return f'{{"type":"{event["type"]}",{event["data"][1:]}'
