"""Credit: the balance is the sum of the ledger whatever happens, and a task costs the seconds its container ran."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import InsufficientCredits
from agentcontainer_local.process import clock as clocks
from agentcontainer_local.store import accounts, db, ledger, tasks
from tests.conftest import Clock, opened_host

CENT = 10_000
PRICE = 50_000  # micro-USD a minute: the published price, USD 0.05
RESERVED = 500_000  # USD 0.50
AUTONOMOUS = schemas.CreateTaskRequest(instructions="i", overrides={"model": "scripted"})
CONVERSATION = schemas.CreateConversationRequest(instructions="i", message="m", overrides={"model": "scripted"})
EVENTS = sorted(lifecycle.EVENTS)


def account(host: Host, id: str = "acc_prepaid") -> dict:
    host.db.conn.execute(
        "INSERT INTO accounts (id, billing_mode, created_at) VALUES (?, 'standard', ?)", (id, db.iso(host.now()))
    )
    return db.row(host.db, "SELECT * FROM accounts WHERE id = ?", (id,))


def dispatch(host: Host, account: dict, body=AUTONOMOUS) -> str:
    return tasks.dispatch(host.context, account, "agt_standard_coding", body)["id"]


def entries(host: Host, account_id: str) -> list[dict]:
    return db.rows(host.db, "SELECT * FROM ledger WHERE account_id = ? ORDER BY number", (account_id,))


class Ledger(RuleBasedStateMachine):
    """Any order of grants, tasks, moves and time, beside a model that only counts seconds."""

    folder = tempfile.TemporaryDirectory(prefix="billing-")
    clock = Clock()
    host: Host | None = None
    accounts = 0

    def __init__(self):
        super().__init__()
        cls = type(self)
        cls.host = cls.host or opened_host(Path(self.folder.name), self.clock)
        cls.accounts += 1
        self.account = account(self.host, f"acc_{cls.accounts}")
        self.granted = 0
        self.open: dict[str, str] = {}  # task → status
        self.used = {}  # task → milliseconds
        self.charged = 0

    def teardown(self):
        for task_id in self.open:
            tasks.apply(self.host.db, task_id, "cancelled", self.host.now())

    @rule(cents=st.integers(1, 300))
    def grant(self, cents: int):
        ledger.grant(self.host.db, self.account["id"], cents * CENT, self.host.now())
        self.granted += cents * CENT

    @rule(body=st.sampled_from([AUTONOMOUS, CONVERSATION]))
    def dispatch(self, body):
        if self.balance() < RESERVED:
            with pytest.raises(InsufficientCredits):
                dispatch(self.host, self.account, body)
            return
        task_id = dispatch(self.host, self.account, body)
        self.open[task_id], self.used[task_id] = "pending", 0

    @rule(ms=st.integers(0, 200_000))
    def time_passes(self, ms: int):
        self.clock.advance(ms / 1000)
        for task_id, status in self.open.items():
            if status == "running":
                self.used[task_id] += ms

    @precondition(lambda self: self.open)
    @rule(data=st.data(), event=st.sampled_from(EVENTS))
    def something_happens(self, data, event: str):
        task_id = data.draw(st.sampled_from(sorted(self.open)))
        try:
            after = lifecycle.after(self.open[task_id], event)
        except lifecycle.IllegalMove:
            before = entries(self.host, self.account["id"])
            with pytest.raises(lifecycle.IllegalMove):
                tasks.apply(self.host.db, task_id, event, self.host.now())
            assert entries(self.host, self.account["id"]) == before
            return
        until = self.host.now() + timedelta(hours=1) if after == "hibernating" else None
        tasks.apply(self.host.db, task_id, event, self.host.now(), hibernate_until=until)
        self.open[task_id] = after
        if after in lifecycle.TERMINAL:
            del self.open[task_id]
            self.charged += round(self.used[task_id] / 1000) * PRICE // 60

    @invariant()
    def the_balance_is_what_the_model_says(self):
        assert ledger.balance_microusd(self.host.db, self.account["id"]) == self.balance()
        assert sum(entry["amount_microusd"] for entry in entries(self.host, self.account["id"])) == self.balance()
        shown = accounts.shape(self.host.db, self.account, self.host.settings)
        assert round(shown.credit_balance * 1e6) == self.balance()

    def balance(self) -> int:
        return self.granted - self.charged - RESERVED * len(self.open)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    if Ledger.host is not None:
        Ledger.host.db.close()
    Ledger.folder.cleanup()


def test_fifty_cents_are_enough_and_a_cent_less_is_not(host):
    payer = account(host)
    ledger.grant(host.db, payer["id"], RESERVED - CENT, host.now())
    with pytest.raises(InsufficientCredits):
        dispatch(host, payer)
    ledger.grant(host.db, payer["id"], CENT, host.now())
    dispatch(host, payer)
    assert ledger.balance_microusd(host.db, payer["id"]) == 0


@pytest.mark.parametrize(
    ("seconds", "microusd"),
    [
        (0, 0),
        (0.4, 0),
        (0.6, 833),
        (1, 833),
        (59, 49_166),
        (60, 50_000),
        (61, 50_833),
        (600, 500_000),
        (7200, 6_000_000),
    ],
)
def test_a_task_costs_its_seconds(host, clock, seconds, microusd):
    payer = account(host)
    ledger.grant(host.db, payer["id"], 10_000_000, host.now())
    task_id = dispatch(host, payer)
    host.db.conn.execute("UPDATE tasks SET max_runtime_seconds = 7200")
    tasks.apply(host.db, task_id, "started", host.now())
    clock.advance(seconds)
    tasks.apply(host.db, task_id, "finished", host.now(), result="Done", completion="complete")
    assert ledger.balance_microusd(host.db, payer["id"]) == 10_000_000 - microusd
    shown = tasks.shape(host.db, tasks.get(host.db, task_id), host.now())
    assert shown.cost_usd == microusd / 1e6
    assert round(shown.container_minutes * 60) == round(seconds)


@pytest.mark.parametrize(
    ("body", "event", "rest"),
    [
        (AUTONOMOUS, "slept", "hibernating"),
        (CONVERSATION, "turn_ended", "awaiting_input"),
        (AUTONOMOUS, "interrupted", "pending"),
    ],
)
def test_hibernating_waiting_and_idle_cost_nothing(host, clock, body, event, rest):
    payer = account(host)
    ledger.grant(host.db, payer["id"], 10_000_000, host.now())
    task_id = dispatch(host, payer, body)
    clock.advance(3600)
    tasks.apply(host.db, task_id, "started", host.now())
    clock.advance(30)
    until = host.now() + timedelta(days=1) if rest == "hibernating" else None
    assert tasks.apply(host.db, task_id, event, host.now(), hibernate_until=until)["status"] == rest
    clock.advance(7200)
    assert tasks.shape(host.db, tasks.get(host.db, task_id), host.now()).cost_usd == 0.025
    tasks.apply(host.db, task_id, "cancelled", host.now())
    assert ledger.balance_microusd(host.db, payer["id"]) == 10_000_000 - 25_000


def test_an_account_with_an_unlimited_grant_is_neither_blocked_nor_charged(host, clock):
    payer = accounts.only(host.db)
    task_id = dispatch(host, payer)
    tasks.apply(host.db, task_id, "started", host.now())
    clock.advance(600)
    tasks.apply(host.db, task_id, "failed", host.now(), error="x")
    assert entries(host, payer["id"]) == []


# kill -9


def spend(folder: Path) -> None:
    """Grants, dispatches and ends tasks until the process is killed; the clock runs a thousand times as fast."""
    began = time.monotonic()

    def steady() -> float:
        return 1000 * (time.monotonic() - began)

    began_at = datetime(2026, 3, 1, tzinfo=UTC)
    host = opened_host(folder, clocks.Clock(lambda: began_at + timedelta(seconds=steady()), steady))
    payer, chance = account(host), random.Random(folder.name)
    print("spending", flush=True)
    while True:
        ledger.grant(host.db, payer["id"], RESERVED + CENT, host.now())
        task_id = dispatch(host, payer)
        tasks.apply(host.db, task_id, "started", host.now())
        ending = chance.choice(["finished", "failed", "cancelled", None])
        if ending is not None:
            tasks.apply(host.db, task_id, ending, host.now())


@pytest.mark.slow
@pytest.mark.parametrize("crash_at", [None, None, None, "apply.finished", "task.settled"])
def test_a_kill_leaves_no_task_paid_for_twice_or_never(tmp_path, crash_at):
    environ = {**os.environ, **({"AGENTCONTAINER_CRASH_AT": crash_at} if crash_at else {})}
    command = [sys.executable, "-m", "tests.unit.test_billing", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, cwd=Path(__file__).parents[2]) as spender:
        spender.stdout.readline()
        if crash_at is None:
            time.sleep(random.uniform(0.05, 0.5))
            spender.send_signal(signal.SIGKILL)
        assert spender.wait(20) in (-signal.SIGKILL, 86)
    store = db.open(tmp_path / "data" / "agentcontainer.db")
    try:
        assert_settled(store)
    finally:
        store.close()


def assert_settled(store) -> None:
    expected = 0
    found = db.rows(store, "SELECT * FROM tasks WHERE account_id = 'acc_prepaid'")
    for task in found:
        kinds = {
            entry["kind"]: entry["amount_microusd"]
            for entry in db.rows(store, "SELECT * FROM ledger WHERE task_id = ?", (task["id"],))
        }
        if task["completed_at"] is None:
            assert kinds == {"reservation": -RESERVED}
        else:
            charge = -(round(task["used_ms"] / 1000) * PRICE // 60)
            assert kinds == {"reservation": -RESERVED, "release": RESERVED, "charge": charge}
        expected += sum(kinds.values())
    grants = db.row(store, "SELECT count(*) AS n FROM ledger WHERE kind = 'grant'")["n"]
    assert grants - len(found) in (0, 1)
    assert ledger.balance_microusd(store, "acc_prepaid") == expected + grants * (RESERVED + CENT)


def test_a_store_from_before_sums_were_kept_has_them_after_its_next_start(tmp_path: Path):
    path = tmp_path / "agentcontainer.db"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in (one for part in db._parts(db._migrations())[:2] for one in db._statements(part)):
        old.execute(statement)
    old.execute("PRAGMA user_version = 2")
    old.execute(
        "INSERT INTO accounts (id, billing_mode, created_at) VALUES ('acc_a', 'standard', ''),"
        " ('acc_b', 'standard', '')"
    )
    old.execute(
        "INSERT INTO ledger (account_id, kind, amount_microusd, created_at) VALUES ('acc_a', 'grant', 7, ''),"
        " ('acc_a', 'charge', -3, '')"
    )
    old.execute(
        "INSERT INTO files (id, account_id, filename, content_type, size_bytes, sha256, created_at)"
        " VALUES ('file_1', 'acc_b', '', '', 5, '', ''), ('file_2', 'acc_b', '', '', 6, '', '')"
    )
    old.close()
    store = db.open(path)
    assert [ledger.balance_microusd(store, id) for id in ("acc_a", "acc_b")] == [4, 0]
    assert [accounts.file_bytes(store, id) for id in ("acc_a", "acc_b")] == [0, 11]
    store.close()


if __name__ == "__main__":
    spend(Path(sys.argv[1]))
