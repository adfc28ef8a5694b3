"""What a task's model calls used, as rows."""

from datetime import datetime

from sqlite_utils import Database

from agentcontainer_local.db import Row, iso


def record_usage(db: Database, task: Row, usage, now: datetime) -> None:
    """`usage`: a gateway.Usage, the figures of one call."""
    db.conn.execute(
        "INSERT INTO model_calls (task_id, turn_number, provider, model, input_tokens, output_tokens,"
        " cache_read_tokens, cache_write_tokens, cost_microusd, status, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (task["id"], task["turn_number"], usage.provider, usage.model, usage.input_tokens, usage.output_tokens,
         usage.cache_read_tokens, usage.cache_write_tokens, usage.cost_microusd, usage.status, iso(now)),
    )
