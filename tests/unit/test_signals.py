"""Whoever waits for a task hears of each change of its rows, once it is committed, from who wrote them."""

import contextlib
import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import agentcontainer_local
from agentcontainer_local.engine import supervisor
from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import Problem
from agentcontainer_local.guest.events import parse, record
from agentcontainer_local.store import events, tasks
from tests.conftest import Clock, set_context
from tests.unit.test_lifecycle import MOVES, dispatched
from tests.unit.test_races import running


@pytest.fixture
def told(host: Host) -> list[tuple[str, ...]]:
    heard: list[tuple[str, ...]] = []
    host.db.subscribe(lambda *ids: heard.append((*ids, host.db.conn.in_transaction)))
    return heard


def test_a_transaction_signals_once_when_it_is_committed(host: Host, told):
    with host.db.atomic():
        host.db.touched("b")
        with host.db.atomic():
            host.db.touched("a")
        host.db.touched("b")
        assert told == []
    assert told == [("b", "a", False)]
    with host.db.atomic():
        pass
    assert len(told) == 1


def test_what_is_rolled_back_signals_nothing(host: Host, told):
    with pytest.raises(ValueError), host.db.atomic():
        host.db.touched("a")
        raise ValueError
    assert told == []
    with host.db.atomic():
        host.db.touched("kept")
        with pytest.raises(ValueError), host.db.atomic():
            host.db.touched("undone")
            raise ValueError
    assert told == [("kept", False)]


def test_a_statement_of_its_own_signals_at_once(host: Host, clock: Clock, told):
    task = dispatched(host)
    told.clear()
    events.append(host.db, task["id"], events.NOTICE, {"kind": "x"}, clock())
    assert told == [(task["id"], False)]


# The law: no commit changes rows of a task that somebody waits for without a signal that names the task.

WATCHED = {"tasks": "id", "runs": "task_id", "messages": "task_id", "activities": "task_id", "task_events": "task_id"}
GUEST = {
    "prompted": '{"type": "prompted", "id": "x"}',
    "message": '{"type": "message", "text": "Hi", "stopReason": "stop"}',
    "cut": '{"type": "message", "text": "Hi", "stopReason": "error", "errorMessage": "lost"}',
    "tool_started": '{"type": "tool_started", "callId": "c", "tool": "bash"}',
    "tool_output": '{"type": "tool_output", "callId": "c", "text": "10%"}',
    "tool_ended": '{"type": "tool_ended", "callId": "c", "failed": false}',
    "settled": '{"type": "settled"}',
    "pi_exited": '{"type": "pi_exited", "code": 1}',
    "retrying": '{"type": "retrying", "attempt": 2}',
}


def _report(host: Host, task: dict, event: str) -> None:
    run = tasks.open_run(host.db, task["id"])
    if run is not None:
        line = f'{{"seq": {run["guest_seq"] + 1}, "event": {GUEST[event]}}}'.encode()
        record(host.db, task["id"], run["id"], parse([line]), 1000, host.now())


def _learn(host: Host, task: dict) -> None:
    tasks.learn_window(host.db, task["id"], host.environ, f"m-{task['id']}", 20_000, 0)


def _call(host: Host, task: dict) -> None:
    """A model call that uses a third of the budget: the agent is told, asked to finish, and then refused."""
    worst = tasks.Worst("anthropic", "m", 600, 300, None, None)
    with contextlib.suppress(tasks.Refused):
        call = tasks.reserve(host.db, task["id"], worst, host.now())
        usage = tasks.Usage("anthropic", "m", 600, 300, 0, 0, None, 200, True)
        tasks.settle(host.db, call.number, usage, host.now())


ACTS = {
    **{name: act for name, act in MOVES.items() if name != "expire"},  # that one writes rows itself
    **{f"guest {event}": lambda host, task, event=event: _report(host, task, event) for event in GUEST},
    "expired": lambda host, task: tasks.expire(host.db, host.now() + timedelta(days=30)),
    "rename": lambda host, task: tasks.rename(host.db, task["id"], "Other"),
    "learn window": _learn,
    "call": _call,
    "sweep": lambda host, task: tasks.retention.sweep(host.db, task["id"], host.now()),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=20), st.booleans())
@example(["call"] * 8, False)
def test_no_change_of_a_tasks_rows_goes_unsignalled(host: Host, names: list[str], conversation: bool):
    task, written, told = dispatched(host, conversation), _written(host), set[str]()
    host.db.conn.execute("UPDATE tasks SET max_tokens = 3000 WHERE id = ?", (task["id"],))
    host.db.subscribe(lambda *ids: told.update(ids))
    for name in ["begin", *names]:
        written.clear()
        told.clear()
        try:
            ACTS[name](host, task)
        except Problem as refused:
            assert refused.status in (409, 422), refused
        else:
            assert written <= told, name


def _written(host: Host) -> set[str]:
    """Filled with the tasks whose rows are written, even by a transaction that is rolled back.

    Sums of what was spent are not waited for: they grow with each model call.
    """
    ids: set[str] = set()
    host.db.conn.create_function("written", 1, ids.add)
    for table, column in WATCHED.items():
        of_note = ", ".join(one.name for one in host.db[table].columns if not one.name.startswith("spent_"))
        for verb, event in {"insert": "INSERT", "update": f"UPDATE OF {of_note}"}.items():
            host.db.conn.execute(f"DROP TRIGGER IF EXISTS temp.written_{verb}_{table}")
            trigger = f"CREATE TEMP TRIGGER written_{verb}_{table} AFTER {event} ON {table}"
            host.db.conn.execute(f"{trigger} BEGIN SELECT written(NEW.{column}); END")
    return ids


def test_nobody_signals_by_hand():
    package = Path(agentcontainer_local.__file__).parent
    by_hand = re.compile(r"\bchanged\.set\(")
    assert [path for path in package.rglob("*.py") if by_hand.search(path.read_text())] == []


# Idle conversations make room for tasks that wait: a function of the rows.


async def test_the_conversations_that_have_been_idle_for_longest_give_up_their_room(host: Host, clock: Clock):
    set_context(host, settings=host.settings.model_copy(update={"max_running": 3}))
    talks = [running(host, conversation=True) for _ in range(3)]
    for talk in (talks[1], talks[0]):
        tasks.end_turn(host.db, talk["id"], None, clock())
        clock.advance(10)
    assert tasks.idle(host.db) == [talks[1]["id"], talks[0]["id"]]
    followed = {talk["id"]: host.changed.mark(talk["id"]) for talk in talks}  # stand for the tasks that follow them
    waiting = dispatched(host)
    supervisor._start_pending(host, None, followed, {})
    assert [task_id for task_id, changed in followed.items() if changed.done()] == [talks[1]["id"]]
    assert tasks.open_run(host.db, talks[1]["id"]) is None
    supervisor._start_pending(host, None, followed, {})  # its room is not free yet
    assert tasks.idle(host.db) == [talks[0]["id"]]
    dispatched(host)
    supervisor._start_pending(host, None, followed, {})
    assert tasks.idle(host.db) == [] and tasks.open_run(host.db, talks[2]["id"]) is not None
    assert waiting["id"] in tasks.with_status(host.db, "pending")
