"""What a task has used is a sum that the store keeps: it is that of the calls, whatever order they come and end in."""

import sqlite3
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentcontainer_local import schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, tasks
from tests.unit.test_budget import Told
from tests.unit.test_lifecycle import dispatched
from tests.unit.test_upgrade import earlier_store

FIGURES = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
tokens = st.integers(0, 10**7)
ends = st.one_of(
    st.sampled_from(["killed", "at work"]),
    st.builds(
        Told,
        tokens,
        tokens,
        tokens,
        tokens,
        st.none() | tokens,
        st.sampled_from(["told", "worst", "nothing"]),
        st.sampled_from([200, 429, 504]),
        st.sampled_from(["m", "m-2026", "weak"]),
    ),
)
calls = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5), tokens, ends), max_size=12)


@given(calls, st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_a_task_and_its_turns_have_used_is_what_their_calls_have(host: Host, calls, conversation):
    task = dispatched(host, conversation)
    asked = [asked_for(host, task, turn if conversation else None, tokens) for turn, _, tokens, _ in calls]
    for number, (*_, end) in sorted(zip(asked, calls, strict=True), key=lambda call: call[1][1]):
        if isinstance(end, Told):
            tasks.settle(host.db, number, end, host.now())
        elif end == "killed":
            tasks.settle_leftovers(host.db)
    kept_as_counted(host.db, task["id"])


def asked_for(host: Host, task: dict, turn: int | None, tokens: int) -> int:
    host.db.conn.execute("UPDATE tasks SET turn_number = ? WHERE id = ?", (turn, task["id"]))
    worst = tasks.Worst("anthropic", "m", tokens, 1000, Decimal(1), Decimal(1), exact=False)
    return tasks.reserve(host.db, task["id"], worst, host.now()).number


def kept_as_counted(store, task_id: str) -> None:
    calls = db.rows(store, "SELECT * FROM model_calls WHERE task_id = ?", (task_id,))
    over = [call for call in calls if call["status"] is not None]
    assert tasks.token_usage(store, task_id) == used(over)
    for turn in (1, 2, 3):
        of_turn = [call for call in over if call["turn_number"] == turn]
        assert tasks.token_usage(store, task_id, turn) == used(of_turn)
    assert tasks.written_tokens(store, task_id) == sum(
        max(call["output_tokens"], call["estimated"] * call["counted_tokens"]) for call in calls
    )
    store.conn.execute("UPDATE tasks SET max_tokens = ? WHERE id = ?", (2**62, task_id))
    budget = tasks.budget.shape(store, tasks.get(store, task_id))
    unknown = [call for call in calls if call["status"] is None or call["estimated"]]
    assert (budget.worst_case_tokens or 0) == sum(call["counted_tokens"] for call in unknown)
    assert (budget.worst_case_cost_usd or 0) == sum(call["counted_microusd"] for call in unknown) / 1e6


def used(calls: list[dict]) -> schemas.TokenUsage:
    models = sorted({call["model"] for call in calls})
    return schemas.TokenUsage(
        **figures(calls),
        estimated_calls=sum(call["estimated"] for call in calls),
        by_model={
            model: schemas.ModelUsage(**figures([call for call in calls if call["model"] == model])) for model in models
        },
    )


def figures(calls: list[dict]) -> dict:
    costs = [call["cost_microusd"] for call in calls]
    return {
        **{name: sum(call[name] for call in calls) for name in FIGURES},
        "calls": len(calls),
        "cost_usd": None if None in costs else sum(costs) / 1e6,
    }


def test_the_calls_of_a_store_of_an_earlier_version_are_summed_once(tmp_path: Path):
    path = tmp_path / "agentcontainer.db"
    earlier_store(path, 15)
    store = sqlite3.connect(path, isolation_level=None)
    for turn, model, cost, status, estimated in (
        (1, "m", 5, 200, 0),
        (1, "m", None, 200, 0),
        (2, "m", 7, 0, 1),
        (2, "weak", 1, 429, 0),
        (2, "m", 3, None, 0),
    ):
        store.execute(
            "INSERT INTO model_calls (account_id, task_id, turn_number, provider, model, input_tokens, output_tokens,"
            " cost_microusd, status, estimated, counted_microusd, counted_tokens, created_at)"
            " VALUES ('a', 'tsk_asleep', ?, 'anthropic', ?, 11, ?, ?, ?, ?, 7, 13, 'now')",
            (turn, model, 0 if status is None else 3, cost, status, estimated),
        )
    store.close()
    for _ in range(2):
        store = db.open(path)
        store.conn.execute("PRAGMA foreign_keys = OFF")
        kept_as_counted(store, "tsk_asleep")
        assert tasks.token_usage(store, "tsk_asleep").calls == 4
        store.close()
