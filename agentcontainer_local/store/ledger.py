"""The cost of container time, by the second, and the ledger of prepaid credit."""

from datetime import datetime

from agentcontainer_local.errors import InsufficientCredits
from agentcontainer_local.money import from_usd
from agentcontainer_local.store.accounts import balance_microusd
from agentcontainer_local.store.db import Database, Row, iso, rows
from agentcontainer_local.store.rows import Task

MICROUSD_PER_MINUTE = from_usd(0.05)  # price of container time; spec: billing
RESERVATION_MICROUSD = from_usd(0.5)  # reserved at a task's start; spec: billing


def cost_microusd(used_ms: int) -> int:
    return round(used_ms / 1000) * MICROUSD_PER_MINUTE // 60


def grant(db: Database, account_id: str, amount_microusd: int, now: datetime) -> None:
    _enter(db, account_id, None, "grant", amount_microusd, now)


ENTRIES_UP = "SELECT * FROM ledger WHERE account_id = ? AND number > ? ORDER BY number LIMIT ?"
ENTRIES_DOWN = "SELECT * FROM ledger WHERE account_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def entries(db: Database, account_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, ENTRIES_UP if ascending else ENTRIES_DOWN, (account_id, after, limit))


def reserve(db: Database, account: Row, task_id: str, now: datetime) -> None:
    """Reserves 0.50 USD within the dispatch transaction. Raises InsufficientCredits if the balance is lower."""
    if account["billing_mode"] != "standard":
        return
    if balance_microusd(db, account["id"]) < RESERVATION_MICROUSD:
        raise InsufficientCredits("The balance is below 0.50 USD. Add credit with `agentcontainer credit add`.")
    _enter(db, account["id"], task_id, "reservation", -RESERVATION_MICROUSD, now)


def settle(db: Database, task: Task, used_ms: int, now: datetime) -> None:
    """Replaces the reservation by the actual cost, once. Call it inside the transaction that ends the task."""
    entered = {entry["kind"] for entry in rows(db, "SELECT kind FROM ledger WHERE task_id = ?", (task["id"],))}
    if entered == {"reservation"}:
        _enter(db, task["account_id"], task["id"], "release", RESERVATION_MICROUSD, now)
        _enter(db, task["account_id"], task["id"], "charge", -cost_microusd(used_ms), now)


def _enter(db: Database, account_id: str, task_id: str | None, kind: str, amount: int, now: datetime) -> None:
    db.conn.execute(
        "INSERT INTO ledger (account_id, task_id, kind, amount_microusd, created_at) VALUES (?, ?, ?, ?, ?)",
        (account_id, task_id, kind, amount, iso(now)),
    )
