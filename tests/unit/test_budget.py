"""Budgets of tasks, agents and accounts: what is asked for, refused, set aside and settled."""

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.decide import AskToFinish, Fail
from agentcontainer_local.engine.run.follow import act, due
from agentcontainer_local.store import accounts, db, tasks, transcript

AGENT = "/agents/agt_standard_data"
REAL = {"provider": "anthropic", "model": "claude-sonnet-4-5", "providerApiKey": "sk-1"}


@dataclass(frozen=True)
class Told:
    """What a call used: a tasks.Usage, as far as budgets look."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_microusd: int | None = 0
    counts: str = "told"
    status: int = 200
    model: str = "m"
    error: str | None = None
    detail: str | None = None

    @property
    def estimated(self) -> bool:
        return self.counts == "worst"


def worst(input_tokens: int = 100, output_tokens: int = 100, price: int | None = 1, exact: bool = False) -> tasks.Worst:
    each = None if price is None else Decimal(price)
    return tasks.Worst("anthropic", "m", input_tokens, output_tokens, each, each, exact)


async def dispatched(client, expect: int = 201, **overrides) -> dict:
    answer = await client.post(f"{AGENT}/tasks", json={"instructions": "x", "overrides": {**REAL, **overrides}})
    assert answer.status_code == expect, answer.text
    return answer.json()


async def started(client, host: Host, **overrides) -> dict:
    task = await dispatched(client, **overrides)
    tasks.apply(host.db, task["id"], "started", host.now())
    return task


async def test_a_budget_is_asked_for_with_the_task_and_answered(client):
    task = await dispatched(client, maxCostUsd=0.5, maxTokens=1000)
    assert task["budget"] == {"maxCostUsd": 0.5, "maxTokens": 1000, "usedCostUsd": 0, "usedTokens": 0}
    assert (task["overrides"]["maxCostUsd"], task["overrides"]["maxTokens"]) == (0.5, 1000)
    assert (await dispatched(client))["budget"] is None


async def test_an_agents_budget_is_its_tasks_unless_they_say_another(client):
    defaults = {"model": "claude-sonnet-4-5", "internetAccess": False, "maxRuntimeSeconds": 60, "maxCostUsd": 2}
    agent = (await client.post("/agents", json={"name": "a", "basePrompt": "p", "defaults": defaults})).json()
    assert agent["currentVersion"]["defaults"]["maxCostUsd"] == 2
    assert agent["currentVersion"]["defaults"]["maxTokens"] is None
    made = []
    for overrides in ({}, {"maxCostUsd": 1}, {"maxTokens": 5}):
        body = {"instructions": "x", "overrides": {**REAL, **overrides}}
        made.append((await client.post(f"/agents/{agent['id']}/tasks", json=body)).json()["budget"])
    assert [(budget["maxCostUsd"], budget["maxTokens"]) for budget in made] == [(2, None), (1, None), (2, 5)]


@pytest.mark.parametrize(
    "overrides",
    [
        {"maxCostUsd": 0},
        {"maxCostUsd": -1},
        {"maxCostUsd": 1e12},
        {"maxCostUsd": "1"},
        {"maxTokens": 0},
        {"maxTokens": 1.5},
        {"maxTokens": True},
    ],
)
async def test_a_budget_that_makes_no_sense_is_refused(client, overrides):
    refused = await dispatched(client, 422, **overrides)
    assert next(iter(overrides)) in refused["error"]["fields"][0]["field"]


async def test_a_budget_in_usd_is_refused_for_a_model_without_a_price(client):
    refused = await dispatched(client, 422, model="claude-of-tomorrow", maxCostUsd=1)
    assert "no price for claude-of-tomorrow" in refused["error"]["message"]
    assert "maxTokens" in refused["error"]["message"]
    await dispatched(client, 422, weakModel="claude-of-tomorrow", maxCostUsd=1)
    await dispatched(client, model="claude-of-tomorrow", maxTokens=1000)
    await dispatched(client, model="claude-sonnet-4.5", maxCostUsd=1)
    await dispatched(client, model="scripted", maxCostUsd=1)
    assert len((await client.get("/tasks")).json()["data"]) == 3


@pytest.mark.parametrize(
    ("unpriced", "field"),
    [
        ({"model": "claude-of-tomorrow"}, "overrides.model"),
        ({"weakModel": "claude-of-tomorrow"}, "overrides.weakModel"),
    ],
)
async def test_a_message_for_a_model_without_a_price_is_refused_at_once(client, host, unpriced, field):
    talks = []
    for budget in ({"maxCostUsd": 1}, {"maxTokens": 1000}):
        body = {"instructions": "x", "message": "Hello", "overrides": {**REAL, **budget}}
        talks.append((await client.post(f"{AGENT}/conversations", json=body)).json()["task"]["id"])
    capped, counted = talks
    said = {"content": "And now?", "overrides": unpriced}
    refused = await client.post(f"/conversations/{capped}/messages", json=said)
    assert refused.status_code == 422
    assert "no price for claude-of-tomorrow" in refused.json()["error"]["message"]
    assert refused.json()["error"]["fields"][0]["field"] == field
    assert len((await client.get(f"/tasks/{capped}/messages")).json()["data"]) == 1
    assert (await client.post(f"/conversations/{counted}/messages", json=said)).status_code == 201
    accounts.set_budget(host.db, accounts.only(host.db)["id"], 1, None)
    assert (await client.post(f"/conversations/{counted}/messages", json=said)).status_code == 422
    other = {"content": "And now?", "overrides": {"model": "claude-opus-4.5", "weakModel": "claude-haiku-4.5"}}
    assert (await client.post(f"/conversations/{counted}/messages", json=other)).status_code == 201


async def test_a_wake_with_a_model_without_a_price_is_refused_and_the_task_sleeps_on(client, host):
    task = await started(client, host, maxCostUsd=1)
    tasks.sleep(host.db, task["id"], host.now() + timedelta(hours=1), None, host.now())
    woken = {"kind": "external_wake", "overrides": {"model": "claude-of-tomorrow"}}
    assert (await client.post(f"/tasks/{task['id']}/wake", json=woken)).status_code == 422
    assert (await client.get(f"/tasks/{task['id']}")).json()["status"] == "hibernating"
    woken["overrides"]["model"] = "scripted"
    assert (await client.post(f"/tasks/{task['id']}/wake", json=woken)).status_code == 200


async def test_an_accounts_budget_is_set_answered_and_taken_away(client, host, stranger):
    nothing = {"maxCostUsd": None, "maxTokens": None, "usedCostUsd": 0, "usedTokens": 0, "month": "2026-03"}
    assert (await client.get("/account/budget")).json() == nothing
    set_to = (await client.put("/account/budget", json={"maxCostUsd": 2.5, "maxTokens": 10})).json()
    assert set_to == {**nothing, "maxCostUsd": 2.5, "maxTokens": 10}
    assert (await client.get("/account/budget")).json() == set_to
    assert (await stranger.get("/account/budget")).json() == nothing
    await dispatched(client, 422, model="claude-of-tomorrow")
    assert (await client.put("/account/budget", json={})).json() == nothing
    assert (await client.put("/account/budget", json={"maxTokens": 0})).status_code == 422


async def test_what_calls_at_work_may_use_is_in_the_budget_but_not_in_the_usage(client, host):
    task = await started(client, host, maxTokens=10_000)
    reserved = tasks.reserve(host.db, task["id"], worst(1000, 500), host.now())
    seen = (await client.get(f"/tasks/{task['id']}")).json()
    assert (seen["budget"]["usedTokens"], seen["tokenUsage"]["calls"]) == (1500, 0)
    assert seen["budget"]["worstCaseTokens"] == 1500
    used = Told(input_tokens=10, output_tokens=5, cache_read_tokens=900, cost_microusd=77)
    tasks.settle(host.db, reserved.number, used, host.now())
    seen = (await client.get(f"/tasks/{task['id']}")).json()
    assert (seen["budget"]["usedTokens"], seen["budget"]["usedCostUsd"]) == (15, 0.000077)
    assert "worstCaseTokens" not in seen["budget"]
    assert seen["tokenUsage"] == {
        "inputTokens": 10,
        "outputTokens": 5,
        "cacheReadTokens": 900,
        "cacheWriteTokens": 0,
        "costUsd": 0.000077,
        "calls": 1,
        "estimatedCalls": 0,
        "byModel": {
            "m": {
                "inputTokens": 10,
                "outputTokens": 5,
                "cacheReadTokens": 900,
                "cacheWriteTokens": 0,
                "costUsd": 0.000077,
                "calls": 1,
            }
        },
    }


async def test_a_call_that_was_cut_stays_at_its_worst_and_one_that_was_refused_is_nothing(client, host):
    task = await started(client, host, maxTokens=10_000)
    for counts, used in (("worst", 1500), ("nothing", 1500)):
        reserved = tasks.reserve(host.db, task["id"], worst(1000, 500), host.now())
        tasks.settle(host.db, reserved.number, Told(input_tokens=1, output_tokens=1, counts=counts), host.now())
        tasks.settle(host.db, reserved.number, Told(input_tokens=9), host.now())  # once only
        assert tasks.get(host.db, task["id"])["spent_tokens"] == used
    assert (await client.get(f"/tasks/{task['id']}")).json()["tokenUsage"]["estimatedCalls"] == 1


async def test_a_long_answer_is_cut_down_to_what_is_left_and_leaves_some_to_others(client, host):
    task = await dispatched(client, maxTokens=100_000)
    granted = tasks.reserve(host.db, task["id"], worst(1000, 64_000), host.now()).output_tokens
    assert 8192 < granted < 50_000
    granted = tasks.reserve(host.db, task["id"], worst(1000, 8000), host.now()).output_tokens
    assert granted == 8000


async def test_a_call_that_does_not_fit_waits_while_others_could_give_room(client, host):
    task = await dispatched(client, maxTokens=4000)
    at_work = tasks.reserve(host.db, task["id"], worst(100, 2500), host.now())
    with pytest.raises(tasks.Refused) as refused:
        tasks.reserve(host.db, task["id"], worst(100, 2500), host.now())
    assert refused.value.others_at_work
    assert tasks.get(host.db, task["id"])["budget_asked_at"] is None
    tasks.settle(host.db, at_work.number, Told(output_tokens=1), host.now())
    tasks.reserve(host.db, task["id"], worst(100, 2500), host.now())


def used_up(host: Host, task_id: str) -> str:
    with pytest.raises(tasks.Refused) as refused:
        while True:
            reserved = tasks.reserve(host.db, task_id, worst(100, 900), host.now())
            tasks.settle(host.db, reserved.number, Told(input_tokens=100, output_tokens=900), host.now())
    assert not refused.value.others_at_work
    return str(refused.value)


async def test_at_four_fifths_the_agent_is_told_once_and_a_last_part_is_kept_for_finishing(client, host):
    task = await dispatched(client, maxTokens=100_000)
    told = []
    for _ in range(82):
        reserved = tasks.reserve(host.db, task["id"], worst(100, 900), host.now())
        changed = host.changed.mark(task["id"])
        tasks.settle(host.db, reserved.number, Told(input_tokens=100, output_tokens=900), host.now())
        told.append(changed.done())
    assert told == [False] * 79 + [True] + [False] * 2
    assert used_up(host, task["id"]) == "The budget is used up: the task's maxTokens of 100000."
    after = tasks.get(host.db, task["id"])
    assert 97_000 <= after["spent_tokens"] <= 98_000  # two calls are kept
    assert (after["budget_asked_at"] is not None, after["budget_error"]) == (True, None)
    assert used_up(host, task["id"]).endswith("did not finish with what was kept for that.")
    after = tasks.get(host.db, task["id"])
    assert 99_000 <= after["spent_tokens"] <= 100_000
    assert (
        after["budget_error"] == "The budget is used up: the task's maxTokens of 100000."
        " The agent did not finish with what was kept for that."
    )


async def test_an_agent_that_is_out_of_its_budget_is_asked_once_to_finish(client, host):
    task = await dispatched(client, maxTokens=10_000)
    run = tasks.begin_run(host.db, task["id"], host.now())
    tasks.apply(host.db, task["id"], "started", host.now())
    message = transcript.waiting(host.db, task["id"])[0]
    transcript.delivered(host.db, tasks.get(host.db, task["id"]), run, message["id"], host.now())
    used_up(host, task["id"])
    for asked in (True, False):
        tasks.runs.settled(host.db, run["id"], host.now(), "The call was refused.")
        action = due(host, tasks.get(host.db, task["id"]))
        assert action == (AskToFinish() if asked else Fail("The call was refused."))
        act(host, tasks.get(host.db, task["id"]), action)
    assert tasks.get(host.db, task["id"])["status"] == "failed"


async def test_the_account_is_named_where_its_budget_is_used_up(client, host):
    task = await dispatched(client)
    accounts.set_budget(host.db, accounts.only(host.db)["id"], None, 5000)
    assert used_up(host, task["id"]) == "The budget is used up: the account's maxTokens of 5000."


async def test_an_accounts_budget_is_a_new_one_in_the_next_month(client, host, clock):
    task = await dispatched(client)
    accounts.set_budget(host.db, accounts.only(host.db)["id"], None, 5000)
    used_up(host, task["id"])
    used_up(host, task["id"])
    clock.advance(7 * 86_400)
    tasks.reserve(host.db, task["id"], worst(100, 900), host.now())
    assert tasks.get(host.db, task["id"])["budget_error"] is None
    assert (await client.get("/account/budget")).json()["usedTokens"] == 1000


async def test_calls_without_a_budget_are_never_refused_nor_cut_down(client, host):
    task = await dispatched(client)
    for price in (1, None):
        assert tasks.reserve(host.db, task["id"], worst(10**9, 10**6, price), host.now()).output_tokens == 10**6


async def test_a_call_without_a_price_is_refused_where_an_account_has_got_a_budget_in_usd_meanwhile(client, host):
    task = await dispatched(client, model="claude-of-tomorrow")
    accounts.set_budget(host.db, accounts.only(host.db)["id"], 1, None)
    with pytest.raises(tasks.Refused, match="no price for m"):
        tasks.reserve(host.db, task["id"], worst(price=None), host.now())
    assert tasks.get(host.db, task["id"])["budget_asked_at"] is None


class Spending(RuleBasedStateMachine):
    """Whatever order calls come and end in, no sum is above the caps nor below what was spent."""

    host: Host

    @initialize(task=st.tuples(st.integers(1, 50_000), st.integers(1, 50_000)), account=st.integers(1, 80_000))
    def begin(self, task, account):
        self.caps, self.most = task, account
        self.number = getattr(self, "number", 0)
        self.at_work: list[tuple[int, tasks.Worst, int]] = []
        self.owed = [0, 0]
        store = self.host.db
        store.conn.execute("DELETE FROM model_calls")
        store.conn.execute("DELETE FROM spending")
        store.conn.execute("DELETE FROM usage")
        store.conn.execute(
            "UPDATE tasks SET max_cost_microusd = ?, max_tokens = ?, spent_microusd = 0, spent_tokens = 0,"
            " budget_asked_at = NULL, budget_error = NULL, budget_told_at = NULL",
            task,
        )
        store.conn.execute("UPDATE accounts SET max_tokens = ?", (account,))
        self.task_id = db.row(store, "SELECT id FROM tasks")["id"]

    @rule(
        input_tokens=st.integers(0, 3000),
        output_tokens=st.integers(1, 20_000),
        price=st.integers(0, 5),
        exact=st.booleans(),
    )
    def ask(self, input_tokens, output_tokens, price, exact):
        asked = worst(input_tokens, output_tokens, price, exact)
        with contextlib.suppress(tasks.Refused):
            reserved = tasks.reserve(self.host.db, self.task_id, asked, self.host.now())
            assert 0 < reserved.output_tokens <= output_tokens
            self.at_work.append((reserved.number, asked, reserved.output_tokens))

    @rule(share=st.floats(0, 1), which=st.integers(0, 50), counts=st.sampled_from(["told", "worst", "nothing"]))
    def end(self, share, which, counts):
        if not self.at_work:
            return
        number, asked, output_tokens = self.at_work.pop(which % len(self.at_work))
        used = (int(asked.input_tokens * share), int(output_tokens * share))
        cost = int((used[0] + used[1]) * asked.input_price)
        if counts != "nothing":
            self.owed[0] += cost
            self.owed[1] += sum(used)
        tasks.settle(self.host.db, number, Told(*used, cost_microusd=cost, counts=counts), self.host.now())

    @rule()
    def killed(self):
        for _, asked, output_tokens in self.at_work:  # the provider did all of it
            self.owed[0] += asked.microusd(output_tokens)
            self.owed[1] += asked.tokens(output_tokens)
        self.at_work.clear()
        tasks.settle_leftovers(self.host.db)

    @invariant()
    def holds(self):
        task = tasks.get(self.host.db, self.task_id)
        spent = (task["spent_microusd"], task["spent_tokens"])
        assert self.owed[0] <= spent[0] <= self.caps[0]
        assert self.owed[1] <= spent[1] <= min(self.caps[1], self.most)
        sums = db.row(
            self.host.db, "SELECT total(counted_microusd) AS usd, total(counted_tokens) AS n FROM model_calls"
        )
        month = accounts.budget(self.host.db, task["account_id"], "2026-03")
        assert spent == (sums["usd"], sums["n"]) == (month["spent_microusd"], month["spent_tokens"])


async def test_no_order_of_calls_ends_cuts_and_kills_breaks_a_budget(client, host):
    await dispatched(client)

    class OnThisHost(Spending):
        pass

    OnThisHost.host = host
    run_state_machine_as_test(
        OnThisHost,
        settings=settings(
            max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
