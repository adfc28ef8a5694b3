"""Overrides that come with a message or a wake. They apply from that turn on."""

import json
from typing import Any

from agentcontainer_local.errors import Invalid
from agentcontainer_local.schemas import MessageOverrides
from agentcontainer_local.store import task_fields, transcript
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Columns, Database, Row, dumps
from agentcontainer_local.store.rows import Task
from agentcontainer_local.store.tasks.budget import check_price
from agentcontainer_local.store.tasks.provider_choice import require_key


def checked(context: Context, task: Task, overrides: MessageOverrides | None) -> dict[str, Any]:
    """The columns of the message that holds these overrides. They are checked against the task as the waiting messages
    before it will have changed it."""
    if overrides is None:
        return {}
    key = overrides.provider_api_key
    asked = {
        "overrides": dumps(overrides.stored()),
        "provider_api_key": context.vault.seal(key) if key is not None else None,
    }
    changed: Columns = task
    for columns in (*transcript.waiting(context.db, task["id"]), asked):
        changed = _changed(changed, columns)
    require_key(context, changed)
    check_price(context, changed)
    return asked


def take(db: Database, task: Task, message: Columns) -> None:
    """Applies the message's overrides to the task. Call it inside the transaction that begins its turn."""
    changed = _changed(task, message)
    if changed == task:
        return
    names = ", ".join(f"{field.name} = :{field.name}" for field in task_fields.FIELDS if field.by_message)
    db.conn.execute(f"UPDATE tasks SET {names}, provider_api_key = :provider_api_key WHERE id = :id", changed)


def _changed(task: Columns, message: Columns) -> Row:
    """The task's row with the message's overrides. A key for one provider is never used for another."""
    given = json.loads(message["overrides"])
    changed: Row = {**task, **task_fields.of_message(given)}
    soft = changed["soft_finish_after_seconds"]
    if soft is not None and soft >= changed["max_runtime_seconds"]:
        raise Invalid.field("overrides.softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
    if message["provider_api_key"] is not None:
        changed["provider_api_key"] = message["provider_api_key"]
    elif changed["provider"] != task["provider"]:
        changed["provider_api_key"] = None
    return changed
