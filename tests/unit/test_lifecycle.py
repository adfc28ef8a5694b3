"""The life of a task: the table by itself, and every history that rows can have."""

import json
import re
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import Conflict, Problem
from agentcontainer_local.guest.events import parse, record
from agentcontainer_local.store import events as history
from agentcontainer_local.store import ledger, tasks
from agentcontainer_local.store.db import row, rows
from agentcontainer_local.store.tasks.responses import _metadata
from tests.conftest import Clock

ACCOUNT = "SELECT * FROM accounts ORDER BY created_at LIMIT 1"


def dispatched(host: Host, conversation: bool = False) -> dict:
    body = {"instructions": "Work", "overrides": {"model": "scripted", "maxRuntimeSeconds": 60}}
    shape = schemas.CreateConversationRequest if conversation else schemas.CreateTaskRequest
    asked = shape.model_validate({**body, "message": "Hello"} if conversation else body)
    account = row(host.db, ACCOUNT)
    return tasks.dispatch(host.context, account, "agt_standard_coding", asked)


def walk(host: Host, task_id: str) -> list[str]:
    """The statuses that the history tells, each reached from the one before by its event."""
    status, walked = None, []
    for event in history.page(host.db, task_id, 10_000, 0, True):
        told = history.shape(event).data
        if event["type"] != history.TASK_UPDATED or told["event"] in ("turn", "mode"):
            continue
        if status is not None:
            assert told["from"] == status
            assert lifecycle.after(status, told["event"]) == told["status"]
        status = told["status"]
        walked.append(status)
    return walked


def test_no_event_leads_out_of_an_end():
    assert not [start for start, _ in lifecycle.TABLE if start in lifecycle.TERMINAL]


def test_every_status_can_be_reached_and_every_living_one_can_be_cancelled_and_can_fail():
    reached = {lifecycle.PENDING}
    for _ in lifecycle.STATUSES:
        reached |= {end for (start, _), end in lifecycle.TABLE.items() if start in reached}
    assert reached == set(lifecycle.STATUSES)
    for status in reached - lifecycle.TERMINAL:
        assert lifecycle.TABLE[status, "cancelled"] == lifecycle.CANCELLED
        assert lifecycle.TABLE[status, "failed"] == lifecycle.FAILED


def test_each_move_is_one_line_of_the_log_without_anybodys_words(host: Host, caplog):
    caplog.set_level("INFO", "agentcontainer_local.store.tasks")
    task = dispatched(host)
    for event, facts in (
        ("started", {}),
        ("interrupted", {"reason": "words"}),
        ("started", {}),
        ("failed", {"error": "more words"}),
    ):
        tasks.apply(host.db, task["id"], event, host.now(), **facts)
    with pytest.raises(lifecycle.IllegalMove):
        tasks.apply(host.db, task["id"], "started", host.now())
    assert [record.getMessage() for record in caplog.records] == [
        f"task={task['id']} event=created to=pending",
        *(
            f"task={task['id']} event={event} from={before} to={after}"
            for event, before, after in (
                ("started", "pending", "running"),
                ("interrupted", "running", "pending"),
                ("started", "pending", "running"),
                ("failed", "running", "failed"),
            )
        ),
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert caplog.records[-1].args == {"task": task["id"], "event": "failed", "from": "running", "to": "failed"}


@pytest.mark.parametrize("status", lifecycle.STATUSES)
@pytest.mark.parametrize("event", sorted(lifecycle.EVENTS))
def test_an_illegal_move_raises_and_names_the_status(status: str, event: str):
    if (status, event) in lifecycle.TABLE:
        assert lifecycle.after(status, event) in lifecycle.STATUSES
    else:
        with pytest.raises(lifecycle.IllegalMove, match=re.escape(status)):
            lifecycle.after(status, event)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(sorted(lifecycle.EVENTS)), st.integers(0, 5000)), max_size=12), st.booleans())
def test_any_sequence_of_events_is_a_walk_through_the_table(host: Host, clock: Clock, events, conversation):
    task = dispatched(host, conversation)
    for event, milliseconds in events:
        clock.advance(milliseconds / 1000)
        before = tasks.get(host.db, task["id"])
        count = row(host.db, "SELECT count(*) AS n FROM task_events")["n"]
        try:
            tasks.apply(host.db, task["id"], event, clock(), hibernate_until=clock() + timedelta(hours=1))
        except lifecycle.IllegalMove:
            assert tasks.get(host.db, task["id"]) == before
            assert row(host.db, "SELECT count(*) AS n FROM task_events")["n"] == count
    assert walk(host, task["id"])[-1] == tasks.get(host.db, task["id"])["status"]


# What may happen to one task, from all sides: (who asks, what) → it happens, or it is refused with a Problem.


def _begin(host: Host, task: dict) -> None:
    if tasks.get(host.db, task["id"])["status"] == lifecycle.PENDING:
        tasks.begin_run(host.db, task["id"], host.now())
    tasks.apply(host.db, task["id"], "started", host.now())


def _message(host: Host, task: dict) -> None:
    tasks.say(host.context, task["account_id"], task["id"], "More", [], None)


def _wake(host: Host, task: dict) -> None:
    tasks.wake(
        host.context,
        task["account_id"],
        task["id"],
        "message",
        "Up",
        None,
        None,
    )


def _end_turn(host: Host, task: dict) -> None:
    if tasks.get(host.db, task["id"])["turn_number"] is None:
        raise Conflict("no turn")
    if tasks.get(host.db, task["id"])["status"] != lifecycle.RUNNING:
        raise Conflict("not running")
    tasks.end_turn(host.db, task["id"], None, host.now())


def _expire(host: Host, task: dict) -> None:
    host.db.conn.execute(
        "UPDATE tasks SET expires_at = '2000-01-01' WHERE id = ? AND expires_at IS NOT NULL", (task["id"],)
    )
    tasks.expire(host.db, host.now())


MOVES = {
    "begin": _begin,
    "message": _message,
    "wake": _wake,
    "cancel": lambda host, task: tasks.cancel(host.db, task["account_id"], task["id"], host.now()),
    "finish": lambda host, task: tasks.apply(host.db, task["id"], "finished", host.now(), result="Done"),
    "sleep": lambda host, task: tasks.sleep(host.db, task["id"], host.now() + timedelta(seconds=60), None, host.now()),
    "due": lambda host, task: tasks.wake_due(host.db, host.now() + timedelta(days=1)),
    "end turn": _end_turn,
    "switch": lambda host, task: tasks.switch(host.db, task["account_id"], task["id"], host.now()),
    "expire": _expire,
    "die": lambda host, task: tasks.died(host.db, task["id"], host.now(), last_words="?"),
    "end run": lambda host, task: tasks.end_run(host.db, task["id"], host.now()),
}


@settings(max_examples=250)
@given(st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 5000)), max_size=25), st.booleans())
def test_whatever_happens_to_a_task_in_whatever_order_its_rows_agree(host: Host, clock: Clock, asked, conversation):
    host.db.conn.execute("UPDATE accounts SET billing_mode = 'standard'")
    account = row(host.db, ACCOUNT)
    ledger.grant(host.db, account["id"], 10_000_000, clock())
    before = ledger.balance_microusd(host.db, account["id"])
    task = dispatched(host, conversation)
    spent_ms = 0
    for name, milliseconds in asked:
        running = tasks.get(host.db, task["id"])["status"] == lifecycle.RUNNING
        clock.advance(milliseconds / 1000)
        spent_ms += milliseconds if running else 0
        try:
            MOVES[name](host, task)
        except Problem as refused:
            assert refused.status in (409, 422), refused
    now = tasks.get(host.db, task["id"])
    assert walk(host, task["id"])[-1] == now["status"]
    assert tasks.container_ms(now, clock()) == spent_ms
    _agree(host, now, before)


def _agree(host: Host, task: dict, balance_before: int) -> None:
    ended = task["status"] in lifecycle.TERMINAL
    waiting = rows(
        host.db, "SELECT * FROM messages WHERE task_id = ? AND status IN ('queued', 'running')", (task["id"],)
    )
    assert not (ended and waiting)
    entered = sorted(e["kind"] for e in rows(host.db, "SELECT kind FROM ledger WHERE task_id = ?", (task["id"],)))
    assert entered == (["charge", "release", "reservation"] if ended else ["reservation"])
    cost = ledger.cost_microusd(task["used_ms"]) if ended else ledger.RESERVATION_MICROUSD
    assert ledger.balance_microusd(host.db, task["account_id"]) == balance_before - cost
    if task["status"] == lifecycle.AWAITING_INPUT:
        assert task["expires_at"] is not None and task["turn_status"] in ("completed", "failed")
    else:
        assert task["expires_at"] is None or ended
    turns = [
        m["turn_number"]
        for m in rows(
            host.db,
            "SELECT turn_number FROM messages WHERE task_id = ? AND role = 'user' AND turn_number IS NOT NULL"
            " ORDER BY number",
            (task["id"],),
        )
    ]
    assert turns == list(range(1, len(turns) + 1))


def test_a_clock_that_is_set_does_not_change_for_how_long_a_container_ran(host: Host, clock: Clock):
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", clock())
    clock.advance(10)
    for jump in (timedelta(hours=5), timedelta(days=-2)):
        clock.set(jump.total_seconds())
        clock()  # notices it
    clock.advance(1)
    assert tasks.container_ms(tasks.get(host.db, task["id"]), clock()) == 11_000
    assert tasks.apply(host.db, task["id"], "finished", clock())["used_ms"] == 11_000


@pytest.mark.parametrize("event", ["finished", "failed", "cancelled", "interrupted", "slept"])
def test_a_task_is_never_billed_for_more_than_its_limit(host: Host, clock: Clock, event: str):
    """A server that was stopped for a while finds it late that a task's time is over."""
    task = dispatched(host)  # of 60 seconds
    tasks.apply(host.db, task["id"], "started", clock())
    clock.advance(3600)
    assert tasks.shape(host.db, tasks.get(host.db, task["id"]), clock()).container_minutes == 1
    assert tasks.apply(host.db, task["id"], event, clock())["used_ms"] == 60_000


def test_a_millisecond_that_is_not_over_does_not_count(host: Host, clock: Clock):
    """Else a task would fail before its limit, and be over, as its dates say, in less time."""
    task = dispatched(host)
    tasks.apply(host.db, task["id"], "started", host.now())
    clock.advance(59.9996)
    assert tasks.container_ms(tasks.get(host.db, task["id"]), clock()) == 59_999
    clock.advance(0.0004)
    assert tasks.container_ms(tasks.get(host.db, task["id"]), clock()) == 60_000


def test_a_turn_is_never_billed_for_more_than_its_limit(host: Host, clock: Clock):
    task = dispatched(host, conversation=True)
    tasks.begin_run(host.db, task["id"], clock())
    tasks.apply(host.db, task["id"], "started", clock())
    for turn in (1, 2):
        clock.advance(3600)
        tasks.end_turn(host.db, task["id"], None, clock())
        assert tasks.get(host.db, task["id"])["used_ms"] == 60_000 * turn
        said = tasks.say(host.context, task["account_id"], task["id"], "More", [], None)
        assert said is not None


def test_a_late_start_is_a_death_and_so_is_tried_again_before_the_task_fails(host: Host, clock: Clock):
    task = dispatched(host)
    run = tasks.begin_run(host.db, task["id"], clock())
    late = b'{"seq": 1, "event": {"type": "pi_failed", "message": "Pi did not answer within 120 s.", "late": true}}'
    record(host.db, task["id"], run["id"], parse([late]), 1000, clock())
    run = tasks.open_run(host.db, task["id"])
    assert (run["last_words"], run["settled_at"]) == ("Pi did not answer within 120 s.", None)
    for status in (lifecycle.PENDING, lifecycle.PENDING, lifecycle.FAILED):
        tasks.apply(host.db, task["id"], "started", clock())
        ended = tasks.died(host.db, task["id"], clock(), last_words=run["last_words"])
        assert ended["status"] == status
    assert "Pi did not answer within 120 s." in ended["error"]


def test_metadata_of_the_callers_is_not_lost_whatever_its_names_are():
    for names in (["completion"], ["completion", "callerCompletion"], ["callerCompletion"], ["other"]):
        mine = {name: f"mine: {name}" for name in names}
        answered = _metadata({"metadata": json.dumps(mine), "completion": "complete"})
        assert answered.pop("completion") == "complete"
        assert sorted(answered.values()) == sorted(mine.values())
