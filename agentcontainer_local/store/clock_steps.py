"""Moves dates that stand for a duration when the wall clock is set.

The duration stays the same in both directions, for a step of any size, and for a step while no server runs.
"""

from datetime import datetime, timedelta

from agentcontainer_local.process.clock import JUMP, Reading, boot_id
from agentcontainer_local.store.db import Database, Row, iso, parse_iso, single

MOVED = "strftime('%Y-%m-%dT%H:%M:%fZ', {column}, :by || ' seconds')"
# Durations counted only while the machine is awake: a container's run time, a conversation's idle time.
AWAKE = (("tasks", "running_since", "status = 'running'"), ("tasks", "expires_at", "status = 'awaiting_input'"))
# Durations counted always: requested sleep, lifetime of uploads, validity of API keys, retention of idempotency keys.
ALWAYS = (
    ("tasks", "hibernate_until", "status = 'hibernating' AND hibernate_is_relative"),
    ("uploads", "expires_at", "file_id IS NULL"),
    ("idempotency_keys", "created_at", "true"),
    ("api_keys", "expires_at", "true"),
)


def taken(db: Database, by: timedelta, set_by: timedelta) -> None:
    """Records a step of the wall clock, in one transaction. `by`: how much it gained on the steady clock. `set_by`: the
    part of it that comes from setting the clock."""
    with db.atomic():
        for columns, moved in ((AWAKE, by), (ALWAYS, set_by)):
            for table, column, where in columns:
                _move(db, table, column, where, moved)
        db.conn.execute("UPDATE clock SET ahead_ms = ahead_ms + ?", (_ms(set_by),))


def not_counted(db: Database, task_id: str, by: timedelta) -> None:
    """Excludes this duration from the container time of a running task."""
    _move(db, "tasks", "running_since", "status = 'running' AND id = :task", by, task=task_id)


def _move(db: Database, table: str, column: str, where: str, by: timedelta, **values: str) -> None:
    sql = f"UPDATE {table} SET {column} = {MOVED.format(column=column)} WHERE {where} AND {column} IS NOT NULL"
    db.conn.execute(sql, {"by": f"{by.total_seconds():+.3f}", **values})


def steady_date(db: Database, now: datetime) -> datetime:
    """The date on a clock that was never set since the store was created. Ages are differences of such dates."""
    return now - timedelta(milliseconds=int(single(db, "SELECT ahead_ms FROM clock")["ahead_ms"]))


def resume(db: Database, now: Reading) -> timedelta:
    """At the server's start: applies the clock steps since the last reading. Returns how long no server was running."""
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
    """Stores the present reading of the clocks."""
    db.conn.execute(
        "UPDATE clock SET boot = ?, wall = ?, steady_ms = ?, elapsed_ms = ?",
        (boot_id(), iso(now.wall), round(now.steady * 1000), round(now.elapsed * 1000)),
    )


def _since(last: Row, now: Reading) -> tuple[timedelta, timedelta]:
    """Time while the machine was off counts like time while it was suspended: nothing ran, and nobody could answer."""
    before = Reading(parse_iso(last["wall"]), last["steady_ms"] / 1000, last["elapsed_ms"] / 1000)
    if last["boot"] == boot_id():
        return now.since(before)
    away = now.wall - before.wall
    return away, min(away, timedelta())


def _ms(by: timedelta) -> int:
    return round(by.total_seconds() * 1000)
