"""Tasks and messages as the API shows them."""

from datetime import datetime
from typing import Any

from pydantic_core import from_json

from agentcontainer_local import schemas
from agentcontainer_local.money import to_usd
from agentcontainer_local.store import files, ledger
from agentcontainer_local.store.db import Database, Row, rows
from agentcontainer_local.store.rows import Message, Task
from agentcontainer_local.store.tasks import budget
from agentcontainer_local.store.tasks.rows import whole
from agentcontainer_local.store.tasks.transitions import container_ms
from agentcontainer_local.store.tasks.usage import token_usage


def shape(db: Database, task: Task, now: datetime, used: schemas.TokenUsage | None = None) -> schemas.Task:
    """`now`: for the cost of a running task so far. `used`: its token usage, if the caller has read it already."""
    task = whole(db, task)
    if used is None and task["started_at"] is not None:
        used = token_usage(db, task["id"])
    used_ms = container_ms(task, now)
    return schemas.Task.made(
        id=task["id"],
        agent_id=task["agent_id"],
        agent_name=task["agent_name"],
        agent_version_id=task["agent_version_id"],
        container_version_id=task["container_version_id"],
        mode=task["mode"],
        status=task["status"],
        title=task["title"],
        instructions=task["instructions"],
        description=task["instructions"],
        runtime_region=task["runtime_region"],
        overrides=_overrides(task),
        metadata=_metadata(task),
        created_at=task["created_at"],
        started_at=task["started_at"],
        completed_at=task["completed_at"],
        result=task["result"],
        error=task["error"],
        cost_usd=to_usd(ledger.cost_microusd(used_ms)),
        container_minutes=round(used_ms / 1000) / 60,
        token_usage=used or {},
        budget=budget.shape(db, task),
        execution={"provider": task["provider"], "model": task["model"], "weak_model": task["weak_model"]},
        runtime={"container_image": task["image"]},
        walls=None if task["walls"] is None else schemas.TaskWalls.model_validate_json(task["walls"]),
        turn_status=task["turn_status"],
        turn_number=task["turn_number"],
        skills=[schemas.Skill(skill=skill["skill"]) for skill in from_json(task["skills"])],
        session_ttl_seconds=task["session_ttl_seconds"],
        hibernate_until_at=task["hibernate_until"],
        wake_due_id=task["wake_due_id"],
        queue_position=task["queue_position"],
    )


def _overrides(task: Task) -> schemas.TaskResponseOverrides:
    overrides = schemas.TaskResponseOverrides.model_validate_json(task["overrides"])
    overrides.has_provider_api_key = True if task["has_provider_api_key"] else None
    return overrides


def _metadata(task: Task) -> dict[str, Any]:
    """The caller's metadata. Once finished, the agent's `completion` is added; a key of that name from the caller is
    renamed."""
    metadata: dict[str, Any] = from_json(task["metadata"])
    if task["completion"] is None:
        return metadata
    if "completion" in metadata:
        name = "callerCompletion"
        while name in metadata:  # that name is the caller's too
            name += "_"
        metadata[name] = metadata["completion"]
    return {**metadata, "completion": task["completion"]}


def message_shape(db: Database, message: Message) -> schemas.Message:
    """An answer includes the usage of its turn and the files that the agent attached to it."""
    turn = message["turn_number"] if message["role"] == "assistant" else None
    usage = None if turn is None else token_usage(db, message["task_id"], turn)
    return schemas.Message(
        id=message["id"],
        turn_number=message["turn_number"],
        attempt_number=message["attempt_number"],
        role=message["role"],
        status=message["status"],
        content=message["content"],
        error=message["error"],
        files=[files.shape(file) for file in _files_of(db, message)],
        token_usage=usage,
        cost_usd=usage.cost_usd if usage else None,
        sequence=message["sequence"],
        created_at=message["created_at"],
    )


def _files_of(db: Database, message: Message) -> list[Row]:
    """The files of a message. An assistant's: those that the agent attached. A user's: those sent with it; the first
    message also has the task's inputs."""
    if message["role"] == "assistant":
        sql = (
            "SELECT files.* FROM task_outputs JOIN files ON files.id = file_id WHERE message_id = ?"
            " ORDER BY task_outputs.number"
        )
        return rows(db, sql, (message["id"],))
    return rows(
        db,
        "SELECT files.*, position FROM message_inputs JOIN files ON files.id = file_id WHERE message_id = :message"
        " UNION ALL SELECT files.*, position FROM task_inputs JOIN files ON files.id = file_id WHERE task_id = :task"
        " AND NOT EXISTS (SELECT 1 FROM messages WHERE task_id = :task AND number < :number) ORDER BY position",
        {"message": message["id"], "task": message["task_id"], "number": message["number"]},
    )
