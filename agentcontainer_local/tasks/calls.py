"""A task's model calls, one by one, as rows and on the wire."""

from sqlite_utils import Database

from agentcontainer_local import schemas
from agentcontainer_local.db import Row, rows

UP = "SELECT * FROM model_calls WHERE task_id = ? AND number > ? ORDER BY number LIMIT ?"
DOWN = "SELECT * FROM model_calls WHERE task_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def calls(db: Database, task_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, UP if ascending else DOWN, (task_id, after, limit))


def call_shape(call: Row) -> schemas.ModelCall:
    return schemas.ModelCall(
        id=call["number"], turn_number=call["turn_number"], provider=call["provider"], model=call["model"],
        input_tokens=call["input_tokens"], output_tokens=call["output_tokens"],
        cache_read_tokens=call["cache_read_tokens"], cache_write_tokens=call["cache_write_tokens"],
        cost_usd=None if call["cost_microusd"] is None else call["cost_microusd"] / 1e6,
        estimated=bool(call["estimated"]), status=call_status(call), http_status=call["status"] or None,
        started_at=call["created_at"], ended_at=call["ended_at"],
    )


def call_status(call: Row) -> str | None:
    """None while it is at work; 0 stands for one that a killed server left."""
    if call["status"] is None:
        return None
    return "completed" if 0 < call["status"] < 400 else "failed"
