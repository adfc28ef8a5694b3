"""Changes of a task's status. No other module writes it."""

import logging
from datetime import datetime, timedelta

from agentcontainer_local import lifecycle
from agentcontainer_local.errors import Conflict
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import events, ledger, transcript
from agentcontainer_local.store.db import Database, iso, parse_iso
from agentcontainer_local.store.rows import Task
from agentcontainer_local.store.tasks.rows import get, owned

log = logging.getLogger(__name__)

# Logged for the operator, without the reason: it may contain the agent's text, which stays in the task.
MOVED = "task=%(task)s event=%(event)s from=%(from)s to=%(to)s"

# Why a message has no complete answer, if the event has no error or reason.
ENDED = {"cancelled": "The task was cancelled.", "expired": "The conversation has expired."}

NOT_TAKEN = "The conversation ended before the agent took this message."

MILLISECOND = timedelta(milliseconds=1)

# A container that dies this often in a row without progress is not restarted.
MAX_DEATHS = 3


def apply(
    db: Database,
    task_id: str,
    event: str,
    now: datetime,
    *,
    result: str | None = None,
    completion: str | None = None,
    error: str | None = None,
    hibernate_until: datetime | None = None,
    reason: str | None = None,
) -> Task:
    """Applies an event of `lifecycle` to a task and appends it to the history, in one transaction.

    Leaving `running` adds the container time to `used_ms`. Returns the new row. Raises IllegalMove; then nothing has
    changed.
    """
    with db.atomic():
        task = get(db, task_id)
        status = lifecycle.after(task["status"], event)
        ended = status in lifecycle.TERMINAL
        used_ms = container_ms(task, now)
        wake_at = iso(hibernate_until) if hibernate_until and status == lifecycle.HIBERNATING else None
        db.conn.execute(
            "UPDATE tasks SET status = :status, used_ms = :used_ms,"
            " running_since = CASE WHEN :status = 'running' THEN :now END,"
            " started_at = CASE WHEN :status = 'running' THEN coalesce(started_at, :now) ELSE started_at END,"
            " completed_at = CASE WHEN :ended THEN :now END, result = coalesce(:result, result),"
            " completion = coalesce(:completion, completion), error = coalesce(:error, error),"
            " hibernate_until = :hibernate_until WHERE id = :id",
            {
                "id": task_id,
                "status": status,
                "now": iso(now),
                "ended": ended,
                "used_ms": used_ms,
                "result": result,
                "completion": completion,
                "error": error,
                "hibernate_until": wake_at,
            },
        )
        facts = {"result": result, "error": error, "reason": reason}
        if ended and task["turn_status"] in ("queued", "running"):
            facts["turnStatus"] = _end_turn(db, task, status)
        data = {"event": event, "from": task["status"], "status": status, **{k: v for k, v in facts.items() if v}}
        events.append(db, task_id, events.TASK_UPDATED, data, now)
        failpoints.point(f"apply.{event}")
        if status != lifecycle.RUNNING:
            _close_what_is_open(db, task, status, error or reason or ENDED.get(event), now)
        if ended:
            ledger.settle(db, task, used_ms, now)
            failpoints.point("task.settled")
        moved = {"task": task_id, "event": event, "from": task["status"], "to": status}
        db.when_kept(lambda: log.info(MOVED, moved))
        return get(db, task_id)


def container_ms(task: Task, now: datetime) -> int:
    """Milliseconds in which a container ran for the task until `now`.

    At most the task's limit: a container runs longer only if the server was suspended and could not end it.
    """
    if task["running_since"] is None:
        return int(task["used_ms"])
    used_ms = task["used_ms"] + (now - parse_iso(task["running_since"])) // MILLISECOND
    most: int = task["turn_used_ms"] + task["max_runtime_seconds"] * 1000
    return max(int(task["used_ms"]), min(int(used_ms), most))


def _end_turn(db: Database, task: Task, status: str) -> str:
    """Ends the current turn together with its task."""
    turn_status = "completed" if status == lifecycle.FINISHED else "failed"
    db.conn.execute("UPDATE tasks SET turn_status = ? WHERE id = ?", (turn_status, task["id"]))
    return turn_status


def _close_what_is_open(db: Database, task: Task, status: str, why: str | None, now: datetime) -> None:
    finished = status == lifecycle.FINISHED
    unfinished = transcript.take_unfinished(db, task["id"])
    transcript.interrupted(db, task, unfinished, why or "The answer was cut off.", now)
    wanted = status in (lifecycle.FINISHED, lifecycle.HIBERNATING)  # the tool call that asked for it will not return
    transcript.end_open_activities(
        db, task["id"], "completed" if wanted else "failed", None if wanted else "interrupted", now
    )
    if finished and task["mode"] == "conversation":
        transcript.end_untaken(db, task, NOT_TAKEN, now)
    if status in lifecycle.TERMINAL:
        transcript.end_open(db, task["id"], "completed" if finished else "failed", now, None if finished else why)


def cancel(db: Database, account_id: str, task_id: str, now: datetime) -> Task:
    """Cancels the task. Does nothing if it is cancelled already. Raises Conflict if it ended otherwise."""
    task = owned(db, account_id, task_id)
    if task["status"] == lifecycle.CANCELLED:
        return task
    if task["status"] in lifecycle.TERMINAL:
        raise Conflict(f"The task is {task['status']}; it can't be cancelled any more.", status=task["status"])
    return apply(db, task_id, "cancelled", now)


def died(db: Database, task_id: str, now: datetime, *, last_words: str) -> Task:
    """The container of a running task ended unexpectedly: restarts it. After MAX_DEATHS in a row, fails the task."""
    with db.atomic():
        db.conn.execute("UPDATE tasks SET deaths = deaths + 1 WHERE id = ?", (task_id,))
        deaths = get(db, task_id)["deaths"]
        if deaths < MAX_DEATHS:
            db.conn.execute("UPDATE tasks SET attempt_number = attempt_number + 1 WHERE id = ?", (task_id,))
            return apply(db, task_id, "interrupted", now, reason=last_words)
        error = f"The agent's container died {deaths} times in a row. Its last words: {last_words}"
        return apply(db, task_id, "failed", now, error=error)
