"""Token usage of a task or of one turn, from sums that the database maintains."""

from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.money import to_usd
from agentcontainer_local.store.db import Database, Row, dumps, each, rows, single

WHOLE = 0  # as the turn number: the whole task
COUNTED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "calls")
SUMMED = (*COUNTED, "cost_microusd", "unpriced", "estimated")


def token_usage(db: Database, task_id: str, turn: int = WHOLE) -> schemas.TokenUsage:
    """The usage of a task, or of one turn of a conversation."""
    return _summed(rows(db, "SELECT * FROM usage WHERE task_id = ? AND turn_number = ?", (task_id, turn)))


def token_usages(db: Database, task_ids: list[str]) -> dict[str, schemas.TokenUsage]:
    """The usage of several tasks, by their ids, in one query."""
    by_task: dict[str, list[Row]] = {id: [] for id in task_ids}
    sql = "SELECT usage.* FROM json_each(?) AS chosen JOIN usage ON task_id = chosen.value AND turn_number = ?"
    for used in each(db, sql, (dumps(task_ids), WHOLE)):
        by_task[used["task_id"]].append(used)
    return {id: _summed(by_model) for id, by_model in by_task.items()}


def _summed(by_model: list[Row]) -> schemas.TokenUsage:
    if not by_model:
        return schemas.TokenUsage()
    total = {name: sum(used[name] for used in by_model) for name in SUMMED}
    by_name = {used["model"]: _usage(used) for used in by_model}
    return schemas.TokenUsage(**_usage(total), estimated_calls=total["estimated"], by_model=by_name)


def written_tokens(db: Database, task_id: str) -> int:
    """The output tokens of the task so far, counting unknown calls at their worst case."""
    most = "SELECT coalesce(sum(written_tokens), 0) AS n FROM usage WHERE task_id = ? AND turn_number = ?"
    return int(single(db, most, (task_id, WHOLE))["n"])


def _usage(sums: Row) -> dict[str, Any]:
    cost = None if sums["unpriced"] else to_usd(sums["cost_microusd"])
    return {**{name: sums[name] for name in COUNTED}, "cost_usd": cost}
