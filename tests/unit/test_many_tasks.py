"""What is asked again and again costs the same however many tasks have ended: counted in steps of SQLite's machine."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import accounts, db, events, files, ledger, tasks, transcript
from agentcontainer_local.store.db import row, rows
from tests.unit.test_lifecycle import ACCOUNT, dispatched

MANY = 3000
STEPS = 10  # are counted at once


def filled(host: Host) -> None:
    """With many tasks that have ended, each with an upload, an output and what it cost."""
    ended = dispatched(host)
    tasks.cancel(host.db, ended["account_id"], ended["id"], host.now())
    file = files.add(host.db, ended["account_id"], "out", None, "file_0", 1, "0", host.now())
    host.db.conn.execute("INSERT INTO task_outputs (task_id, file_id) VALUES (?, ?)", (ended["id"], file["id"]))
    ledger.grant(host.db, ended["account_id"], 1, host.now())
    with host.db.atomic():
        copied(host, "tasks", id="'tsk_' || i")
        copied(host, "files", id="'file_' || i")
        copied(host, "task_outputs", task_id="'tsk_' || i", file_id="'file_' || i")
        copied(host, "ledger", task_id="'tsk_' || i")
        host.db.conn.execute(
            "INSERT INTO uploads (id, account_id, filename, content_type, file_id, expires_at, created_at)"
            " SELECT 'upl_' || id, account_id, filename, content_type, id, created_at, created_at FROM files"
        )


def copied(host: Host, table: str, **instead: str) -> None:
    """Copies of the last row; `instead`: expressions of `i`, the copy's number."""
    columns = [one["name"] for one in rows(host.db, f"PRAGMA table_info({table})") if one["name"] != "number"]
    values = ", ".join(instead.get(name, f"last.{name}") for name in columns)
    host.db.conn.execute(
        f"WITH RECURSIVE many(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM many WHERE i < {MANY})"
        f" INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM many,"
        f" (SELECT * FROM {table} ORDER BY number DESC LIMIT 1) AS last"
    )


def waiting_looked_at(host: Host) -> None:
    task = dispatched(host)
    tasks.shape(host.db, tasks.get(host.db, task["id"]), host.now())


def answer_looked_at(host: Host) -> None:
    talk = dispatched(host, conversation=True)
    id = transcript.add(host.db, talk, "assistant", "Here it is.", "completed", host.now())
    tasks.message_shape(host.db, transcript.one(host.db, id))


def file_deleted(host: Host) -> None:
    account = row(host.db, ACCOUNT)["id"]
    file = files.add(host.db, account, "unused", None, db.new_id("file"), 1, "0", host.now())
    files.delete(host.db, account, file["id"])


def crowded(host: Host) -> None:
    kept = timedelta(days=9)
    assert len(tasks.retention.workspaces(host.db, host.now(), kept, crowded=True)) <= 1


def page(host: Host, status: str | None, agent: str | None) -> None:
    account = row(host.db, ACCOUNT)["id"]
    tasks.page(host.db, account, agent_id=agent, status=status, limit=10, after=10**9, ascending=False)


ASKED: dict[str, Callable[[Host], object]] = {
    "who runs": lambda host: tasks.with_status(host.db, lifecycle.RUNNING),
    "who waits": lambda host: tasks.with_status(host.db, lifecycle.PENDING),
    "whose container is left": lambda host: tasks.ended_with_container(host.db),
    "whose workspace is over": lambda host: tasks.ended_with_workspace(host.db, host.now() - timedelta(days=9)),
    "whose workspace makes room": crowded,
    "who is to be woken": lambda host: tasks.wake_due(host.db, host.now()),
    "which conversation is over": lambda host: tasks.expire(host.db, host.now()),
    "which upload has expired": lambda host: files.uploads.forget_expired(host.db, host.files, host.now()),
    "a dispatch, and how the task looks that waits": waiting_looked_at,
    "the balance": lambda host: ledger.balance_microusd(host.db, row(host.db, ACCOUNT)["id"]),
    "how much is stored": lambda host: accounts.file_bytes(host.db, row(host.db, ACCOUNT)["id"]),
    "how an answer looks": answer_looked_at,
    "a file's removal": file_deleted,
    **{
        f"a page of {status}, of {agent}": partial(page, status=status, agent=agent)
        for agent in ("agt_standard_coding", "agt_standard_data")
        for status in lifecycle.STATUSES
        if status != lifecycle.CANCELLED
    },
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_what_is_asked_again_and_again_costs_the_same_however_many_tasks_have_ended(host: Host, asked):
    before = steps(host, asked)
    filled(host)
    assert steps(host, asked) <= before + 500


def test_how_an_answer_looks_costs_the_same_however_long_the_conversation_has_become(host: Host):
    talk = dispatched(host, conversation=True)
    id = transcript.add(host.db, talk, "assistant", "Here it is.", "completed", host.now())
    model_called(host, talk)

    def look(host: Host) -> None:
        assert tasks.message_shape(host.db, transcript.one(host.db, id)).token_usage.input_tokens == 7

    before = steps(host, look)
    copied(host, "model_calls", turn_number="i + 1")
    assert steps(host, look) <= before + 100


@pytest.mark.parametrize(
    "looked_at",
    [
        lambda host, task: tasks.shape(host.db, tasks.get(host.db, task["id"]), host.now()),
        lambda host, task: tasks.written_tokens(host.db, task["id"]),
    ],
    ids=["the task", "what was written"],
)
def test_what_a_task_has_used_costs_the_same_to_read_however_often_it_has_called_a_model(host: Host, looked_at):
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", host.now())
    host.db.conn.execute("UPDATE tasks SET max_tokens = 1000000000 WHERE id = ?", (task["id"],))
    model_called(host, task, turn=None)
    before = steps(host, lambda host: looked_at(host, task))
    copied(host, "model_calls")
    usage = tasks.shape(host.db, tasks.get(host.db, task["id"]), host.now()).token_usage
    assert (usage.calls, usage.input_tokens) == (MANY + 1, 7 * (MANY + 1))
    assert steps(host, lambda host: looked_at(host, task)) <= before + 100


def model_called(host: Host, task: dict, turn: int | None = 1) -> None:
    host.db.conn.execute(
        "INSERT INTO model_calls (account_id, task_id, turn_number, provider, model, input_tokens, status,"
        " counted_microusd, counted_tokens, created_at) VALUES (?, ?, ?, 'anthropic', 'm', 7, 200, 0, 0, '')",
        (task["account_id"], task["id"], turn),
    )


@pytest.mark.parametrize(
    ("event", "status", "error"), [("cancelled", "failed", "interrupted"), ("finished", "completed", None)]
)
def test_however_many_tools_are_at_work_when_a_task_ends_they_end_in_two_statements(
    host: Host, clock, event, status, error
):
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", host.now())
    call = {"callId": "c1", "tool": "bash", "input": {"command": "é"}, "inputOmittedReason": None}
    transcript.tool_started(host.db, task, call, host.now(), host.now())
    transcript.tool_printed(host.db, task, "c1", 'half "a" line\n\x00\u2028ü')
    clock.advance(1.234)
    transcript.tool_started(host.db, task, {**call, "callId": "c2"}, host.now() + timedelta(seconds=9), host.now())
    copied(host, "activities", id="'act_' || i")
    statements = []
    host.db.conn.set_trace_callback(statements.append)
    tasks.apply(host.db, task["id"], event, host.now())
    host.db.conn.set_trace_callback(None)
    assert sum("activities" in statement for statement in statements) == 2
    told = {
        event["number"]: events.shape(event).data
        for event in events.page(host.db, task["id"], 10**5, 0, True)
        if event["type"] == events.ACTIVITY_COMPLETED
    }
    ended = list(transcript.activities(host.db, task["id"], 0, 0, 10**5, 0, True))
    assert list(told) == [activity["completed_sequence"] for activity in ended] and len(told) == MANY + 2
    for activity in ended:
        printed = 'half "a" line\n\x00\u2028ü' if activity["call_id"] == "c1" else None
        assert told[activity["completed_sequence"]] == {
            "type": events.ACTIVITY_COMPLETED,
            "id": activity["id"],
            "callId": activity["call_id"],
            "toolKey": "shell",
            "status": status,
            "errorCode": error,
            "durationMs": activity["duration_ms"],
            "output": printed,
        }
        assert (activity["status"], activity["error_code"], activity["output"]) == (status, error, None)
    assert [activity["duration_ms"] for activity in ended[:2]] == [1234, 0]
    assert ended[1]["completed_at"] == ended[1]["started_at"]


def steps(host: Host, act: Callable[[Host], object]) -> int:
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += STEPS

    act(host)  # what SQLite looks up only once
    host.db.conn.set_progress_handler(count, STEPS)
    try:
        act(host)
    finally:
        host.db.conn.set_progress_handler(None, STEPS)
    return counted
