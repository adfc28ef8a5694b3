"""The transcript of a task: what was said, and which tools were used."""

from datetime import datetime

from sqlite_utils import Database

from agentcontainer_local import history
from agentcontainer_local.db import Row, dumps, iso, new_id, row, rows

# The API's word for a tool of Pi's, where it has one of its own (spec: Activity.toolKey).
TOOL_KEYS = {"bash": "shell"}


def add(db: Database, task: Row, role: str, content: str, status: str, now: datetime) -> str:
    """Adds a message to the transcript and to the history; answers its id."""
    id = new_id("msg")
    data = {"id": id, "role": role, "status": status, "content": content, "turnNumber": task["turn_number"]}
    sequence = history.append(db, task["id"], history.MESSAGE_CREATED, data, now)
    db.conn.execute(
        "INSERT INTO messages (id, task_id, turn_number, attempt_number, role, status, content, sequence, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, task["id"], task["turn_number"], task["attempt_number"], role, status, content, sequence, iso(now)),
    )
    return id


def set_status(db: Database, message: Row, status: str, now: datetime, error: str | None = None) -> None:
    if message["status"] == status:
        return
    db.conn.execute("UPDATE messages SET status = ?, error = ? WHERE id = ?", (status, error, message["id"]))
    data = {"id": message["id"], "role": message["role"], "status": status, "error": error}
    history.append(db, message["task_id"], history.MESSAGE_UPDATED, data, now)


def instructions(db: Database, task_id: str) -> Row:
    """The user's first message: the task itself."""
    return row(db, "SELECT * FROM messages WHERE task_id = ? AND role = 'user' ORDER BY number LIMIT 1", (task_id,))


def delivered(db: Database, message: Row, now: datetime) -> None:
    """Pi has the message in its session, and works on it."""
    db.conn.execute("UPDATE messages SET delivered_at = ? WHERE id = ?", (iso(now), message["id"]))
    set_status(db, message, "running", now)


def tool_started(db: Database, task: Row, event: dict, now: datetime) -> None:
    """`event`: {callId, tool, input | null, inputOmittedReason | null}."""
    id = new_id("act")
    tool = TOOL_KEYS.get(event["tool"], event["tool"])
    data = {"id": id, "callId": event["callId"], "toolKey": tool, "input": event["input"]}
    sequence = history.append(db, task["id"], history.ACTIVITY_STARTED, data, now)
    db.conn.execute(
        "INSERT INTO activities (id, task_id, turn_number, attempt_number, started_sequence, call_id, tool_key, input,"
        " input_omitted_reason, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, task["id"], task["turn_number"], task["attempt_number"], sequence, event["callId"], tool,
         None if event["input"] is None else dumps(event["input"]), event["inputOmittedReason"], iso(now)),
    )


def tool_ended(db: Database, task: Row, event: dict, now: datetime) -> None:
    """`event`: {callId, failed, durationMs, output}; the output goes into the history only, not into the activity."""
    open = row(
        db,
        "SELECT * FROM activities WHERE task_id = ? AND call_id = ? AND completed_at IS NULL ORDER BY number DESC",
        (task["id"], event["callId"]),
    )
    if open is not None:
        status = "failed" if event["failed"] else "completed"
        error = "tool_failed" if event["failed"] else None
        _end_activity(db, open, status, error, event["durationMs"], event["output"], now)


def end_open_activities(db: Database, task_id: str, status: str, error_code: str | None, now: datetime) -> None:
    """What was still at work when the run ended: its end will never be told."""
    for open in rows(db, "SELECT * FROM activities WHERE task_id = ? AND completed_at IS NULL", (task_id,)):
        _end_activity(db, open, status, error_code, None, None, now)


def _end_activity(
    db: Database, activity: Row, status: str, error: str | None, duration_ms: int | None, output: str | None,
    now: datetime,
) -> None:
    data = {"id": activity["id"], "callId": activity["call_id"], "toolKey": activity["tool_key"], "status": status,
            "errorCode": error, "durationMs": duration_ms, "output": output}
    sequence = history.append(db, activity["task_id"], history.ACTIVITY_COMPLETED, data, now)
    db.conn.execute(
        "UPDATE activities SET status = ?, error_code = ?, duration_ms = ?, completed_sequence = ?, completed_at = ?"
        " WHERE id = ?",
        (status, error, duration_ms, sequence, iso(now), activity["id"]),
    )


def end_open(db: Database, task_id: str, status: str, now: datetime) -> None:
    """Gives the messages that were still waiting or at work the status that the task's end gives them."""
    found = rows(db, "SELECT * FROM messages WHERE task_id = ? AND status IN ('queued', 'running')", (task_id,))
    for message in found:
        set_status(db, message, status, now)


def waiting(db: Database, task_id: str, message_id: str) -> Row | None:
    """The message, if Pi has not been given it before."""
    return row(
        db, "SELECT * FROM messages WHERE task_id = ? AND id = ? AND delivered_at IS NULL", (task_id, message_id)
    )
