"""The transcript of a task: messages and tool calls."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from agentcontainer_local import schemas
from agentcontainer_local.store import events
from agentcontainer_local.store.db import Columns, Database, Row, dumps, each, iso, parse_iso, row, rows, single
from agentcontainer_local.store.rows import Message, Run, Task

# The API's names of Pi's tools, where they differ (spec: Activity.toolKey).
TOOL_KEYS = {"bash": "shell"}
MAX_STREAMED_TOOLS = 16  # maximum number of tools whose output is streamed at the same time
MILLISECOND = timedelta(milliseconds=1)

# A turn's text is one answer, which is rewritten each time it grows. It stops growing at this size.
MAX_ANSWER_CHARACTERS = 512 * 1024
CUT = "\n\n[The answer is cut here; the task's events have the rest.]"


def add(
    db: Database,
    task: Columns,
    role: str,
    content: str,
    status: str,
    now: datetime,
    *,
    overrides: str = "{}",
    provider_api_key: bytes | None = None,
    error: str | None = None,
) -> str:
    """Adds a message to the transcript, and an event. Returns the message's id."""
    id = db.ids.new("msg", task["id"])
    data = {
        "id": id,
        "role": role,
        "status": status,
        "content": content,
        "turnNumber": task["turn_number"],
        **({"error": error} if error else {}),
    }
    sequence = events.append(db, task["id"], events.MESSAGE_CREATED, data, now)
    db.conn.execute(
        "INSERT INTO messages (id, task_id, turn_number, attempt_number, role, status, content, error, overrides,"
        " provider_api_key, sequence, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id,
            task["id"],
            task["turn_number"],
            task["attempt_number"],
            role,
            status,
            content,
            error,
            overrides,
            provider_api_key,
            sequence,
            iso(now),
        ),
    )
    return id


def set_status(db: Database, message: Message, status: str, now: datetime, error: str | None = None) -> None:
    """Changes the status and adds an event. An answer's event has its complete text."""
    if message["status"] == status:
        return
    db.conn.execute("UPDATE messages SET status = ?, error = ? WHERE id = ?", (status, error, message["id"]))
    data = {"id": message["id"], "role": message["role"], "status": status, "error": error}
    if message["role"] == "assistant":
        data["content"] = message["content"]
    events.append(db, message["task_id"], events.MESSAGE_UPDATED, data, now)


def one(db: Database, message_id: str) -> Message:
    return single(db, "SELECT * FROM messages WHERE id = ?", (message_id,), of=Message)


def of_turn(db: Database, task_id: str, turn: int) -> list[Message]:
    sql = "SELECT * FROM messages WHERE task_id = ? AND turn_number = ? ORDER BY number"
    return rows(db, sql, (task_id, turn), of=Message)


def for_run(db: Database, task: Task, run: Run) -> list[Message]:
    """The user's messages for this run: not given to Pi before and, in a conversation, of the current turn."""
    return rows(
        db,
        "SELECT * FROM messages WHERE task_id = ? AND role = 'user' AND (? IS NULL OR turn_number = ?)"
        " AND (run_id IS NULL OR run_id = ?) ORDER BY number",
        (task["id"], task["turn_number"], task["turn_number"], run["id"]),
        of=Message,
    )


def is_first(db: Database, message: Message) -> bool:
    first = single(db, "SELECT min(number) AS number FROM messages WHERE task_id = ?", (message["task_id"],))
    return bool(message["number"] == first["number"])


def last_given(db: Database, task: Task) -> Message:
    """The user's last message that any run gave to Pi. Exists for every task that has had a run."""
    return single(
        db,
        "SELECT * FROM messages WHERE task_id = ? AND role = 'user' AND run_id IS NOT NULL ORDER BY number DESC"
        " LIMIT 1",
        (task["id"],),
        of=Message,
    )


def waiting(db: Database, task_id: str) -> list[Message]:
    """The user's messages that Pi was not given yet."""
    sql = "SELECT * FROM messages WHERE task_id = ? AND role = 'user' AND run_id IS NULL ORDER BY number"
    return rows(db, sql, (task_id,), of=Message)


def delivered(db: Database, task: Task, run: Run, message_id: str, now: datetime) -> None:
    """Records that Pi has the message with this id. Ignores ids that are not of a message."""
    message = row(db, "SELECT * FROM messages WHERE task_id = ? AND id = ?", (task["id"], message_id), of=Message)
    if message is not None:
        db.conn.execute("UPDATE messages SET run_id = ? WHERE id = ?", (run["id"], message_id))
        db.touched(task["id"])
        set_status(db, message, "running", now)


def said(db: Database, task: Task, text: str, now: datetime) -> None:
    """Adds text of the agent: in a conversation to the turn's answer, otherwise as a message of its own."""
    if task["mode"] == "autonomous":
        add(db, task, "assistant", text, "completed", now)
    elif (answer := answer_of(db, task)) is None:
        add(db, task, "assistant", text, "running", now)
    else:
        _grow(db, answer, text)
        data = {"id": answer["id"], "role": "assistant", "status": answer["status"], "added": text}
        events.append(db, task["id"], events.MESSAGE_UPDATED, data, now)


def interrupted(db: Database, task: Task, text: str, error: str, now: datetime) -> None:
    """Stores an answer that was cut off: its text so far, and the reason."""
    if text.strip():
        add(db, task, "assistant", text[:MAX_ANSWER_CHARACTERS], "failed", now, error=error)


def keep_unfinished(db: Database, task_id: str, text: str) -> None:
    """Stores more text of an incomplete answer, in case it is cut off."""
    db.conn.execute(
        "INSERT INTO unfinished_answers VALUES (?, ?) ON CONFLICT DO UPDATE SET content = content || excluded.content"
        " WHERE length(content) < ?",
        (task_id, text, MAX_ANSWER_CHARACTERS),
    )


def take_unfinished(db: Database, task_id: str) -> str:
    """Returns the stored text of an incomplete answer and deletes it."""
    found = row(db, "SELECT content FROM unfinished_answers WHERE task_id = ?", (task_id,))
    if found is None:
        return ""
    db.conn.execute("DELETE FROM unfinished_answers WHERE task_id = ?", (task_id,))
    return str(found["content"])


def _grow(db: Database, answer: Message, text: str) -> None:
    content = f"{answer['content']}\n\n{text}" if answer["content"] else text
    if len(content) > MAX_ANSWER_CHARACTERS:
        if answer["content"].endswith(CUT):
            return
        content = content[:MAX_ANSWER_CHARACTERS] + CUT
    db.conn.execute("UPDATE messages SET content = ? WHERE id = ?", (content, answer["id"]))


def answer_of(db: Database, task: Task) -> Message | None:
    """The current turn's answer so far."""
    return row(
        db,
        "SELECT * FROM messages WHERE task_id = ? AND turn_number = ? AND role = 'assistant' AND status = 'running'"
        " ORDER BY number LIMIT 1",
        (task["id"], task["turn_number"]),
        of=Message,
    )


def last_said(db: Database, task_id: str) -> str | None:
    """The text of the agent's last message."""
    last = row(
        db,
        "SELECT content FROM messages WHERE task_id = ? AND role = 'assistant' ORDER BY number DESC LIMIT 1",
        (task_id,),
    )
    return None if last is None else str(last["content"])


def used_tools(db: Database, task_id: str) -> bool:
    return row(db, "SELECT 1 AS found FROM activities WHERE task_id = ? LIMIT 1", (task_id,)) is not None


def tool_started(db: Database, task: Task, event: dict[str, Any], at: datetime, now: datetime) -> None:
    """Records a tool call that started at `at`. `event`: {callId, tool, input | null, inputOmittedReason | null}."""
    id = db.ids.new("act", task["id"])
    tool = TOOL_KEYS.get(event["tool"], event["tool"])
    data = {"id": id, "callId": event["callId"], "toolKey": tool, "input": event["input"]}
    sequence = events.append(db, task["id"], events.ACTIVITY_STARTED, data, now)
    db.conn.execute(
        "INSERT INTO activities (id, task_id, turn_number, attempt_number, started_sequence, call_id, tool_key, input,"
        " input_omitted_reason, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            id,
            task["id"],
            task["turn_number"],
            task["attempt_number"],
            sequence,
            event["callId"],
            tool,
            None if event["input"] is None else dumps(event["input"]),
            event["inputOmittedReason"],
            iso(at),
        ),
    )


def tool_printed(db: Database, task: Task, call_id: str, text: str) -> None:
    """Stores the latest output of a running tool, which is final if the tool's end is never reported."""
    db.conn.execute(
        "UPDATE activities SET output = ? WHERE task_id = ? AND call_id = ? AND completed_at IS NULL",
        (text, task["id"], call_id),
    )
    db.touched(task["id"])


def printed(db: Database, task_id: str) -> list[Row]:
    """The most recent running tools that have printed something."""
    return rows(
        db,
        "SELECT id, call_id, tool_key, output FROM activities WHERE task_id = ? AND completed_at IS NULL"
        " AND output IS NOT NULL ORDER BY number DESC LIMIT ?",
        (task_id, MAX_STREAMED_TOOLS),
    )[::-1]


def tool_ended(db: Database, task: Task, event: dict[str, Any], at: datetime, now: datetime) -> None:
    """Records a tool call's end. `event`: {callId, failed, output}; the output is only stored in the event."""
    open = row(
        db,
        "SELECT * FROM activities WHERE task_id = ? AND call_id = ? AND completed_at IS NULL ORDER BY number DESC",
        (task["id"], event["callId"]),
    )
    if open is not None:
        status = "failed" if event["failed"] else "completed"
        error = "tool_failed" if event["failed"] else None
        _end_activity(db, open, status, error, event["output"], at, now)


def open_activities(db: Database, task_id: str) -> int:
    """The number of running tools."""
    counted = single(db, "SELECT count(*) AS n FROM activities WHERE task_id = ? AND completed_at IS NULL", (task_id,))
    return int(counted["n"])


OPEN = "task_id = :task AND completed_at IS NULL"
END = "max(:now, started_at)"
DURATION_MS = f"CAST(round((julianday({END}) - julianday(started_at)) * 86400000) AS INTEGER)"


def end_open_activities(db: Database, task_id: str, status: str, error_code: str | None, now: datetime) -> None:
    """Ends the tools that were running when the run ended. Two statements, for stores with thousands of them."""
    given = {"task": task_id, "status": status, "error": error_code, "now": iso(now)}
    told = db.conn.execute(
        "INSERT INTO task_events (task_id, type, data, created_at) SELECT task_id, :type, json_object('id', id,"
        " 'callId', call_id, 'toolKey', tool_key, 'status', :status, 'errorCode', :error, 'durationMs',"
        f" {DURATION_MS}, 'output', output), :now FROM activities WHERE {OPEN} ORDER BY number",
        {**given, "type": events.ACTIVITY_COMPLETED},
    )
    if told.rowcount and told.lastrowid is not None:
        db.touched(task_id)
        db.conn.execute(
            f"UPDATE activities SET status = :status, error_code = :error, duration_ms = {DURATION_MS},"
            f" completed_sequence = :before + nth, completed_at = {END}, output = NULL"
            " FROM (SELECT number AS found, row_number() OVER (ORDER BY number) AS nth"
            f" FROM activities WHERE {OPEN}) WHERE number = found",
            {**given, "before": told.lastrowid - told.rowcount},
        )


def _end_activity(
    db: Database, activity: Row, status: str, error: str | None, output: str | None, at: datetime, now: datetime
) -> None:
    ended = max(iso(at), activity["started_at"])
    duration_ms = (parse_iso(ended) - parse_iso(activity["started_at"])) // MILLISECOND
    data = {
        "id": activity["id"],
        "callId": activity["call_id"],
        "toolKey": activity["tool_key"],
        "status": status,
        "errorCode": error,
        "durationMs": duration_ms,
        "output": output,
    }
    sequence = events.append(db, activity["task_id"], events.ACTIVITY_COMPLETED, data, now)
    db.conn.execute(
        "UPDATE activities SET status = ?, error_code = ?, duration_ms = ?, completed_sequence = ?, completed_at = ?,"
        " output = NULL WHERE id = ?",
        (status, error, duration_ms, sequence, ended, activity["id"]),
    )


def end_untaken(db: Database, task: Task, error: str, now: datetime) -> None:
    """Fails the follow-up messages whose turn never came."""
    for message in waiting(db, task["id"]):
        if message["turn_number"] != task["turn_number"]:
            set_status(db, message, "failed", now, error)


def end_open(db: Database, task_id: str, status: str, now: datetime, error: str | None = None) -> None:
    """Gives open messages the final status of their ended task, and the reason."""
    sql = "SELECT * FROM messages WHERE task_id = ? AND status IN ('queued', 'running')"
    for message in rows(db, sql, (task_id,), of=Message):
        set_status(db, message, status, now, error)


# In the API

MESSAGES_UP = "SELECT * FROM messages WHERE task_id = ? AND number > ? ORDER BY number LIMIT ?"
MESSAGES_DOWN = "SELECT * FROM messages WHERE task_id = ? AND number < ? ORDER BY number DESC LIMIT ?"
ACTIVITIES_UP = (
    "SELECT * FROM activities WHERE task_id = ? AND coalesce(turn_number, 0) BETWEEN ? AND ? AND number > ?"
    " ORDER BY number LIMIT ?"
)
ACTIVITIES_DOWN = (
    "SELECT * FROM activities WHERE task_id = ? AND coalesce(turn_number, 0) BETWEEN ? AND ? AND number < ?"
    " ORDER BY number DESC LIMIT ?"
)


def page(db: Database, task_id: str, limit: int, after: int, ascending: bool) -> Iterator[Message]:
    return each(db, MESSAGES_UP if ascending else MESSAGES_DOWN, (task_id, after, limit), of=Message)


def activities(
    db: Database, task_id: str, from_turn: int, to_turn: int, limit: int, after: int, ascending: bool
) -> Iterator[Row]:
    sql = ACTIVITIES_UP if ascending else ACTIVITIES_DOWN
    return each(db, sql, (task_id, from_turn, to_turn, after, limit))


def activity_shape(activity: Row) -> schemas.Activity:
    return schemas.Activity(
        id=activity["id"],
        turn_number=activity["turn_number"],
        attempt_number=activity["attempt_number"],
        started_sequence=activity["started_sequence"],
        completed_sequence=activity["completed_sequence"],
        call_id=activity["call_id"],
        tool_key=activity["tool_key"],
        input=None if activity["input"] is None else json.loads(activity["input"]),
        input_omitted_reason=activity["input_omitted_reason"],
        status=activity["status"],
        error_code=activity["error_code"],
        started_at=activity["started_at"],
        completed_at=activity["completed_at"],
        duration_ms=activity["duration_ms"],
    )
