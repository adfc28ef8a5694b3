"""Conversations: one turn for each message. A turn starts when the one before it has been answered."""

from datetime import datetime, timedelta

from agentcontainer_local import lifecycle
from agentcontainer_local.errors import Conflict
from agentcontainer_local.process import failpoints
from agentcontainer_local.schemas import MessageOverrides
from agentcontainer_local.store import events, files, transcript
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, iso, rows, single
from agentcontainer_local.store.rows import Message, Task
from agentcontainer_local.store.tasks import overrides as override
from agentcontainer_local.store.tasks.rows import get, owned
from agentcontainer_local.store.tasks.runs import fits, given_next_turn, open_run
from agentcontainer_local.store.tasks.transitions import apply, container_ms

MAX_WAITING_MESSAGES = 100


def say(
    context: Context,
    account_id: str,
    task_id: str,
    content: str,
    file_ids: list[str],
    overrides: MessageOverrides | None,
) -> tuple[Task, Message]:
    """Adds a follow-up message, which starts the next turn or waits. Returns the task and the message."""
    db, now = context.db, context.now()
    with db.atomic():
        task = _open_conversation(db, account_id, task_id)
        files.owned(db, account_id, file_ids)
        last = single(db, "SELECT max(turn_number) AS turn FROM messages WHERE task_id = ?", (task_id,))["turn"]
        if last - _turn(task) >= MAX_WAITING_MESSAGES:
            raise Conflict(f"{MAX_WAITING_MESSAGES} messages are already waiting. Send this one later.")
        asked = override.checked(context, task, overrides)
        turn = {**task, "turn_number": last + 1, "attempt_number": 1}
        id = transcript.add(db, turn, "user", content, "queued", now, **asked)
        for position, file_id in enumerate(file_ids):
            sql = "INSERT INTO message_inputs (message_id, position, file_id) VALUES (?, ?, ?)"
            db.conn.execute(sql, (id, position, file_id))
        failpoints.point("message.written")
        if task["status"] == lifecycle.AWAITING_INPUT:
            _prepare_turn(db, task, transcript.one(db, id), now)
            apply(db, task_id, "messaged" if _alive(db, task_id) else "messaged_cold", now)
            _set_turn(db, get(db, task_id), last + 1, "queued", now)
        return get(db, task_id), transcript.one(db, id)


def _open_conversation(db: Database, account_id: str, task_id: str) -> Task:
    task = owned(db, account_id, task_id)
    if task["mode"] != "conversation":
        raise Conflict("This task is not a conversation.")
    if task["status"] in lifecycle.TERMINAL:
        raise Conflict(f"The conversation is {task['status']}.", status=task["status"])
    return task


def _turn(task: Task) -> int:
    """The number of the current turn."""
    if task["turn_number"] is None:
        raise ValueError(f"an autonomous task has no turns: {task['id']}")
    return task["turn_number"]


def _alive(db: Database, task_id: str) -> bool:
    """Whether the container runs, with a Pi that was started with the task's present mode and models."""
    run = open_run(db, task_id)
    return run is not None and fits(get(db, task_id), run)


def end_turn(db: Database, task_id: str, error: str | None, now: datetime) -> Task:
    """Ends the turn with the agent's answer or with `error`. Starts the next waiting message, or awaits one."""
    with db.atomic():
        task = get(db, task_id)
        turn, status = _turn(task), "failed" if error else "completed"
        unfinished = transcript.take_unfinished(db, task_id)
        transcript.interrupted(db, task, unfinished, error or "The answer was cut off.", now)
        for message in transcript.of_turn(db, task_id, turn):
            transcript.set_status(db, message, status, now, error)
        transcript.end_open_activities(db, task_id, "failed", "interrupted", now)
        _set_turn(db, task, turn, status, now)
        failpoints.point("turn.ending")
        if waiting := transcript.of_turn(db, task_id, turn + 1):
            _prepare_turn(db, task, waiting[0], now)
            if not _alive(db, task_id):
                apply(db, task_id, "interrupted", now, reason="The next turn is for another model.")
            return _set_turn(db, get(db, task_id), turn + 1, "queued", now)
        assert task["session_ttl_seconds"] is not None, "a conversation has one"
        expires_at = now + timedelta(seconds=task["session_ttl_seconds"])
        db.conn.execute("UPDATE tasks SET expires_at = ? WHERE id = ?", (iso(expires_at), task_id))
        return apply(db, task_id, "turn_ended", now)


def turn_runs(db: Database, task: Task, now: datetime) -> None:
    """Marks the turn as running: Pi has its message."""
    if task["turn_status"] == "queued":
        _set_turn(db, task, _turn(task), "running", now)


def _prepare_turn(db: Database, task: Task, message: Message, now: datetime) -> None:
    """Prepares the turn of `message`, with its overrides."""
    given_next_turn(db, task["id"], now)
    db.conn.execute(
        "UPDATE tasks SET expires_at = NULL, attempt_number = 1, turn_used_ms = ? WHERE id = ?",
        (container_ms(task, now), task["id"]),
    )
    override.take(db, task, message)


def _set_turn(db: Database, task: Task, number: int, status: str, now: datetime) -> Task:
    db.conn.execute("UPDATE tasks SET turn_number = ?, turn_status = ? WHERE id = ?", (number, status, task["id"]))
    data = {"event": "turn", "status": task["status"], "turnNumber": number, "turnStatus": status}
    events.append(db, task["id"], events.TASK_UPDATED, data, now)
    return get(db, task["id"])


def switch(db: Database, account_id: str, task_id: str, now: datetime) -> Task:
    """Makes a conversation autonomous: it goes on by itself until the agent calls `finish`. An autonomous task stays as
    it is.

    A turn in progress ends first. Then Pi is restarted, because an autonomous task has other tools.
    """
    with db.atomic():
        task = owned(db, account_id, task_id)
        if task["mode"] == "autonomous":
            return task
        task = _open_conversation(db, account_id, task_id)
        db.conn.execute(
            "UPDATE tasks SET mode = 'autonomous', turn_number = NULL, turn_status = NULL, expires_at = NULL,"
            " session_ttl_seconds = NULL, to_tell = 'switched' WHERE id = ?",
            (task_id,),
        )
        failpoints.point("task.switching")
        if task["status"] == lifecycle.AWAITING_INPUT:
            return apply(db, task_id, "switched", now)
        data = {"event": "mode", "status": task["status"], "mode": "autonomous"}
        events.append(db, task_id, events.TASK_UPDATED, data, now)
        return get(db, task_id)


def expire(db: Database, now: datetime) -> list[Task]:
    """Expires the conversations that have waited too long for a message."""
    with db.atomic():
        due = rows(
            db, "SELECT id FROM tasks WHERE status = 'awaiting_input' AND expires_at <= ? ORDER BY number", (iso(now),)
        )
        return [apply(db, task["id"], "expired", now) for task in due]
