"""A task's model calls, as rows and as the API shows them."""

from agentcontainer_local import schemas
from agentcontainer_local.money import to_usd
from agentcontainer_local.store.db import Database, Row, row, rows
from agentcontainer_local.store.rows import Task

UP = "SELECT * FROM model_calls WHERE task_id = ? AND number > ? ORDER BY number LIMIT ?"
DOWN = "SELECT * FROM model_calls WHERE task_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def calls(db: Database, task_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, UP if ascending else DOWN, (task_id, after, limit))


def call_shape(call: Row) -> schemas.ModelCall:
    return schemas.ModelCall(
        id=call["number"],
        turn_number=call["turn_number"],
        provider=call["provider"],
        model=call["model"],
        input_tokens=call["input_tokens"],
        output_tokens=call["output_tokens"],
        cache_read_tokens=call["cache_read_tokens"],
        cache_write_tokens=call["cache_write_tokens"],
        cost_usd=to_usd(call["cost_microusd"]),
        estimated=bool(call["estimated"]),
        status=call_status(call),
        http_status=call["status"] or None,
        attempt=call["attempt"],
        error=call["error"],
        error_detail=call["error_detail"],
        started_at=call["created_at"],
        ended_at=call["ended_at"],
    )


def call_status(call: Row) -> str | None:
    """None while the call is in progress. Status 0 in the row marks a call that a killed server left open."""
    if call["status"] is None:
        return None
    return "completed" if 0 < call["status"] < 400 and call["error"] is None else "failed"


def failed_before(db: Database, task: Task) -> Row | None:
    """The last ended call of the task's current turn, if it failed."""
    last = row(
        db,
        "SELECT status, attempt, error, ended_at FROM model_calls WHERE task_id = ? AND turn_number IS ?"
        " AND status IS NOT NULL ORDER BY number DESC LIMIT 1",
        (task["id"], task["turn_number"]),
    )
    return last if last is not None and last["error"] is not None else None


def reached(db: Database, task_id: str) -> bool:
    """Whether any model has answered a call of this task."""
    found = "SELECT 1 AS found FROM model_calls WHERE task_id = ? AND status BETWEEN 200 AND 299 LIMIT 1"
    return row(db, found, (task_id,)) is not None
