"""Runs: one container's life for one task, from its start to its stop, as rows."""

from datetime import datetime

from sqlite_utils import Database

from agentcontainer_local.store.db import Row, dumps, iso, new_id, row


def open_run(db: Database, task_id: str) -> Row | None:
    """The run that has not ended, if there is one."""
    return row(db, "SELECT * FROM runs WHERE task_id = ? AND ended_at IS NULL", (task_id,))


def at_work(db: Database, run_id: str) -> bool:
    """Whether this run is the task's present one: being started, or running. A run that is to end is not, even if the
    task has been woken meanwhile."""
    found = row(
        db,
        "SELECT 1 FROM runs JOIN tasks ON tasks.id = task_id WHERE runs.id = ? AND ended_at IS NULL"
        " AND (status = 'running' OR (status = 'pending' AND runs.started_at IS NULL))",
        (run_id,),
    )
    return found is not None


def begin_run(db: Database, task_id: str, now: datetime) -> Row:
    """A new one. What was still open is over: its container does not run, or it would have been taken up again."""
    with db.atomic():
        db.conn.execute("UPDATE runs SET ended_at = ? WHERE task_id = ? AND ended_at IS NULL", (iso(now), task_id))
        db.conn.execute(
            "INSERT INTO runs (id, task_id, created_at) VALUES (?, ?, ?)", (new_id("run"), task_id, iso(now))
        )
        return open_run(db, task_id)


def is_first_run(db: Database, run: Row) -> bool:
    """Whether there can't be a container of an earlier one."""
    earlier = row(db, "SELECT 1 FROM runs WHERE task_id = ? AND number < ?", (run["task_id"], run["number"]))
    return earlier is None


def end_run(db: Database, task_id: str, now: datetime) -> None:
    """From here on a message starts a new one."""
    db.conn.execute("UPDATE runs SET ended_at = ? WHERE task_id = ? AND ended_at IS NULL", (iso(now), task_id))


def launched(db: Database, run: Row, task: Row, base_url: str, provider_key: bytes | None) -> None:
    """Pi is started for the task as it is now; its calls go to this address. `provider_key` is encrypted."""
    db.conn.execute(
        "UPDATE runs SET launched = ?, base_url = ?, provider_key = ? WHERE id = ?",
        (_launch(task), base_url, provider_key, run["id"]),
    )


def fits(task: Row, run: Row) -> bool:
    """Whether Pi was started as the task is now; its mode and its models can't be changed while it runs."""
    return run["launched"] in (None, _launch(task))


def _launch(task: Row) -> str:
    learned = [] if task["learned_window"] is None else [task["learned_window"]]
    return dumps([task["mode"], task["provider"], task["model"], task["weak_model"], *learned])
