"""Moves dates that stand for a duration when the wall clock is set.

The duration stays the same in both directions, for a step of any size, and for a step while no server runs.
"""

from datetime import datetime, timedelta

from agentcontainer_local.process.clock import JUMP, Reading, boot_id
from agentcontainer_local.store.db import Database, Row, iso, parse_iso, single

MOVED = "strftime('%Y-%m-%dT%H:%M:%fZ', {column}, :by || ' seconds')"
# Counted only while the machine is awake: how long a container has run, how long a conversation has been idle.
AWAKE = (("tasks", "running_since", "status = 'running'"), ("tasks", "expires_at", "status = 'awaiting_input'"))
# Counted always: how long an agent asked to sleep, how long an upload stays open, and how long keys are valid or kept.
ALWAYS = (
    ("tasks", "hibernate_until", "status = 'hibernating' AND hibernate_is_relative"),
    ("uploads", "expires_at", "file_id IS NULL"),
    ("idempotency_keys", "created_at", "true"),
    ("api_keys", "expires_at", "true"),
)


def taken(db: Database, by: timedelta, set_by: timedelta) -> None:
    """The wall clock went `by` further than the steady one, `set_by` of it because it was set; in one transaction."""
    with db.atomic():
        for columns, moved in ((AWAKE, by), (ALWAYS, set_by)):
            for table, column, where in columns:
                _move(db, table, column, where, moved)
        db.conn.execute("UPDATE clock SET ahead_ms = ahead_ms + ?", (_ms(set_by),))


def not_counted(db: Database, task_id: str, by: timedelta) -> None:
    """A running task's container did not run for so long."""
    _move(db, "tasks", "running_since", "status = 'running' AND id = :task", by, task=task_id)


def _move(db: Database, table: str, column: str, where: str, by: timedelta, **values: str) -> None:
    sql = f"UPDATE {table} SET {column} = {MOVED.format(column=column)} WHERE {where} AND {column} IS NOT NULL"
    db.conn.execute(sql, {"by": f"{by.total_seconds():+.3f}", **values})


def steady_date(db: Database, now: datetime) -> datetime:
    """The date by a clock that was never set since the store was made. Ages are differences of these."""
    return now - timedelta(milliseconds=int(single(db, "SELECT ahead_ms FROM clock")["ahead_ms"]))


def resume(db: Database, now: Reading) -> timedelta:
    """At the start of a server: takes the steps since the last one looked. Answers for how long none has looked."""
    last = single(db, "SELECT * FROM clock")
    if last["boot"] is None:
        remember(db, now)
        return timedelta()
    with db.atomic():
        by, set_by = _since(last, now)
        if abs(by) > JUMP:
            taken(db, by, set_by)
        remember(db, now)
    return max(timedelta(), now.wall - parse_iso(last["wall"]) - by)


def remember(db: Database, now: Reading) -> None:
    """That a server looked at this moment."""
    db.conn.execute(
        "UPDATE clock SET boot = ?, wall = ?, steady_ms = ?, elapsed_ms = ?",
        (boot_id(), iso(now.wall), round(now.steady * 1000), round(now.elapsed * 1000)),
    )


def _since(last: Row, now: Reading) -> tuple[timedelta, timedelta]:
    """While the machine was off nothing ran and nobody could answer, as while it is suspended."""
    before = Reading(parse_iso(last["wall"]), last["steady_ms"] / 1000, last["elapsed_ms"] / 1000)
    if last["boot"] == boot_id():
        return now.since(before)
    away = now.wall - before.wall
    return away, min(away, timedelta())


def _ms(by: timedelta) -> int:
    return round(by.total_seconds() * 1000)
