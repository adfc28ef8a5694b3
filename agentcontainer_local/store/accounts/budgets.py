"""An account's monthly budget for model calls."""

from datetime import datetime

from agentcontainer_local import schemas
from agentcontainer_local.money import from_usd, to_usd
from agentcontainer_local.store.db import Database, Row, iso, single


def budget(db: Database, account_id: str, month: str) -> Row:
    """The account's budget and spending in a month such as 2026-03. Limits can be None. Calls in progress count at
    their worst case."""
    return single(
        db,
        "SELECT max_cost_microusd, max_tokens, coalesce(microusd, 0) AS spent_microusd,"
        " coalesce(tokens, 0) AS spent_tokens FROM accounts"
        " LEFT JOIN spending ON account_id = accounts.id AND month = ? WHERE accounts.id = ?",
        (month, account_id),
    )


def set_budget(db: Database, account_id: str, max_cost_usd: float | None, max_tokens: int | None) -> None:
    """Replaces the account's budget. None: no limit."""
    db.conn.execute(
        "UPDATE accounts SET max_cost_microusd = ?, max_tokens = ? WHERE id = ?",
        (from_usd(max_cost_usd), max_tokens, account_id),
    )


def budget_shape(db: Database, account_id: str, now: datetime) -> schemas.AccountBudget:
    month = iso(now)[:7]
    found = budget(db, account_id, month)
    return schemas.AccountBudget(
        max_cost_usd=to_usd(found["max_cost_microusd"]),
        max_tokens=found["max_tokens"],
        used_cost_usd=to_usd(found["spent_microusd"]),
        used_tokens=found["spent_tokens"],
        month=month,
    )
