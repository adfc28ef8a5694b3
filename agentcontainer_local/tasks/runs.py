"""Runs: one container's life for one task, as rows."""

from datetime import datetime

from sqlite_utils import Database

from agentcontainer_local.db import Row, iso, new_id, row


def open_run(db: Database, task_id: str) -> Row | None:
    """The run that has not ended, if there is one."""
    return row(db, "SELECT * FROM runs WHERE task_id = ? AND ended_at IS NULL", (task_id,))


def begin_run(db: Database, task_id: str, now: datetime) -> Row:
    """The task's open run, or a new one."""
    found = open_run(db, task_id)
    if found is not None:
        return found
    db.conn.execute(
        "INSERT INTO runs (id, task_id, created_at) VALUES (?, ?, ?)", (new_id("run"), task_id, iso(now))
    )
    return open_run(db, task_id)


def end_run(db: Database, run_id: str, now: datetime) -> None:
    db.conn.execute("UPDATE runs SET ended_at = ? WHERE id = ? AND ended_at IS NULL", (iso(now), run_id))
