"""What a task, or a turn of it, has used of models: sums that the store keeps, so that they are read at once."""

from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.money import to_usd
from agentcontainer_local.store.db import Database, Row, rows, single

WHOLE = 0  # in a turn's place: all of the task
COUNTED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "calls")
SUMMED = (*COUNTED, "cost_microusd", "unpriced", "estimated")


def token_usage(db: Database, task_id: str, turn: int = WHOLE) -> schemas.TokenUsage:
    """Of a task, or of one turn of a conversation."""
    by_model = rows(db, "SELECT * FROM usage WHERE task_id = ? AND turn_number = ?", (task_id, turn))
    if not by_model:
        return schemas.TokenUsage()
    total = {name: sum(used[name] for used in by_model) for name in SUMMED}
    by_name = {used["model"]: _usage(used) for used in by_model}
    return schemas.TokenUsage(**_usage(total), estimated_calls=total["estimated"], by_model=by_name)


def written_tokens(db: Database, task_id: str) -> int:
    """What models have written for the task until now, at most."""
    most = "SELECT coalesce(sum(written_tokens), 0) AS n FROM usage WHERE task_id = ? AND turn_number = ?"
    return int(single(db, most, (task_id, WHOLE))["n"])


def _usage(sums: Row) -> dict[str, Any]:
    cost = None if sums["unpriced"] else to_usd(sums["cost_microusd"])
    return {**{name: sums[name] for name in COUNTED}, "cost_usd": cost}
