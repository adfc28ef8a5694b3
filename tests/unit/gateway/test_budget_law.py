"""The law of budgets: whatever is asked at once, cut, or killed, a provider is never owed more than the cap."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from agentcontainer_local import schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import accounts, db, tasks
from tests import fake_provider
from tests.fake_provider import Answers, Cuts, Fails, FakeProvider, Silent
from tests.unit.gateway.conftest import MODELS, PATHS, request
from tests.unit.gateway.purse import opened

pytestmark = pytest.mark.slow  # each starts servers

AT_ONCE = 64
ASKED = 900  # tokens of output
OUTPUT = {"anthropic": "max_tokens", "openai": "max_output_tokens", "openrouter": "max_tokens"}


@dataclass
class Charging(FakeProvider):
    """Bills as a provider does at worst: every token of an answer, even if its reader was gone; none of a failure."""

    rates: dict[str, float] = field(default_factory=dict)
    dice: random.Random = field(default_factory=random.Random)
    owed_microusd: float = 0
    owed_tokens: int = 0
    troubled: bool = True

    async def _answer(self, request, send) -> None:
        answer = self._made_up(request)
        move = (
            self.dice.choice(
                [
                    answer,
                    answer,
                    Cuts(answer, self.dice.randint(0, 5)),
                    Fails(529, "overloaded"),
                    Silent(0.3, answer, self.dice.randint(0, 4)),
                ]
            )
            if self.troubled
            else answer
        )
        # A call without any part of an answer counts as free: else a silent server would use up a budget.
        if not isinstance(move, Fails) and getattr(move, "after_events", 1):
            self._bill(answer)
        self.plan(move)
        await super()._answer(request, send)

    def _made_up(self, request) -> Answers:
        body, dice = request.json, self.dice
        size = dice.randint(1, len(request.body))  # a token is a byte at least
        read, written = sorted((dice.randint(0, size), dice.randint(0, size)))
        most = next(body[name] for name in ("max_tokens", "max_output_tokens", "max_completion_tokens") if name in body)
        output = dice.choice([most, dice.randint(1, most)])
        return Answers("x" * 200, (), size - written, output, read, written - read)

    def _bill(self, answer: Answers) -> None:
        cost = {
            "input": answer.input_tokens,
            "output": answer.output_tokens,
            "cacheRead": answer.cache_read_tokens,
            "cacheWrite": answer.cache_write_tokens,
        }
        self.owed_microusd += sum(self.rates[kind] * tokens for kind, tokens in cost.items())
        self.owed_tokens += answer.input_tokens + answer.output_tokens + answer.cache_write_tokens


@pytest.fixture
def charging() -> Iterator[Charging]:
    charging = Charging()
    with fake_provider.in_thread(charging, lifespan="off") as charging.port:
        yield charging


class Purse:
    """A store with a server over it that can be killed."""

    def __init__(self, folder: Path, charging: Charging):
        self.folder = folder
        models = {name: {MODELS[name]: {**charging.rates}} for name in OUTPUT}
        (folder / "prices.json").write_text(json.dumps({"asOf": "2026-01-01", "models": models}))
        urls = {name: charging.base_url(name) for name in OUTPUT}
        (folder / "providers.json").write_text(json.dumps(urls))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        with self.store() as host:
            self.account = accounts.only(host.db)

    @contextmanager
    def store(self) -> Iterator[Host]:
        host = opened(self.folder, json.loads((self.folder / "providers.json").read_text()))
        try:
            yield host
        finally:
            host.db.close()

    def task(self, provider: str, **budget) -> str:
        with self.store() as host:
            asked = {"provider": provider, "model": MODELS[provider], **budget}
            body = schemas.CreateTaskRequest.model_validate({"instructions": "x", "overrides": asked})
            task = tasks.dispatch(host.context, self.account, "agt_standard_data", body)
            return task["id"]

    def row(self, sql: str, *values) -> dict:
        with self.store() as host:
            return db.row(host.db, sql, values)

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.unit.gateway.purse", str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def ask_at_once(self, provider: str, task_ids: list[str], dice: random.Random, patience: float = 30) -> list:
        """What became of each call: a status, or the error that its reader saw."""
        path = PATHS[{"anthropic": "anthropic", "openai": "openai responses", "openrouter": "openrouter"}[provider]]
        async with httpx.AsyncClient(timeout=patience, trust_env=False, limits=httpx.Limits()) as client:
            calls = [
                client.post(
                    f"http://127.0.0.1:{self.port}{path}",
                    headers={"x-task": dice.choice(task_ids)},
                    content=self._body(provider, dice),
                )
                for _ in range(AT_ONCE)
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        return [answer.status_code if isinstance(answer, httpx.Response) else type(answer) for answer in answers]

    def _body(self, provider: str, dice: random.Random) -> bytes:
        text = "é" * dice.randint(0, 800)
        kind = "openai responses" if provider == "openai" else provider
        said = {"input": text} if provider == "openai" else {"messages": [{"role": "user", "content": text}]}
        shown = {**request(MODELS[provider], True, kind), **said}
        asked = {OUTPUT[provider]: ASKED} if provider == "anthropic" or dice.random() < 0.7 else {}
        return json.dumps({**shown, **asked}, ensure_ascii=False).encode()


def rates(dice: random.Random) -> dict[str, float]:
    price = dice.choice([0.25, 3, 15])
    return {"input": price, "output": price * 5, "cacheRead": price / 10, "cacheWrite": price * 1.25}


@pytest.mark.parametrize("provider", OUTPUT)
async def test_64_calls_at_once_never_cost_more_than_the_cap(tmp_path, charging, provider):
    dice = charging.dice = random.Random(f"law {provider}")
    charging.rates = rates(dice)
    purse = Purse(tmp_path, charging)
    cap_usd = charging.rates["output"] * ASKED * 40 / 1e6
    task_id = purse.task(provider, maxCostUsd=cap_usd, maxTokens=200_000)
    for wave in range(4):
        purse.start()
        try:
            asking = asyncio.create_task(purse.ask_at_once(provider, [task_id], dice))
            if wave in (1, 2):
                await asyncio.sleep(dice.uniform(0.1, 0.6))
                purse.kill()
            outcomes = await asking
        finally:
            purse.kill()
        assert charging.owed_microusd <= cap_usd * 1e6
        assert charging.owed_tokens <= 200_000
    assert outcomes == [403] * AT_ONCE
    spent = purse.row("SELECT spent_microusd, spent_tokens FROM tasks WHERE id = ?", task_id)
    assert charging.owed_microusd <= spent["spent_microusd"] + len(charging.seen) <= cap_usd * 1e6 + len(charging.seen)
    assert charging.owed_tokens <= spent["spent_tokens"] <= 200_000
    assert charging.owed_microusd > cap_usd * 1e6 * 0.1  # it was of some use


async def test_an_accounts_budget_holds_over_all_its_tasks_at_once(tmp_path, charging):
    dice = charging.dice = random.Random("account")
    charging.rates = rates(dice)
    purse = Purse(tmp_path, charging)
    cap_usd = charging.rates["output"] * ASKED * 30 / 1e6
    with purse.store() as host:
        accounts.set_budget(host.db, purse.account["id"], cap_usd, None)
    task_ids = [purse.task("anthropic") for _ in range(5)]
    purse.start()
    try:
        for _ in range(3):
            outcomes = await purse.ask_at_once("anthropic", task_ids, dice)
            assert charging.owed_microusd <= cap_usd * 1e6
    finally:
        purse.kill()
    assert 403 in outcomes


async def test_calls_that_are_within_the_budget_wait_for_each_other_rather_than_be_refused(tmp_path, charging):
    """One by one they all fit; all at once their worst cases do not."""
    dice = charging.dice = random.Random("wait")
    charging.rates, charging.troubled = {"input": 0, "output": 10, "cacheRead": 0, "cacheWrite": 0}, False
    purse = Purse(tmp_path, charging)
    cap_usd = 10 * ASKED * (AT_ONCE + 10) / 1e6 * 1.5
    task_id = purse.task("anthropic", maxCostUsd=cap_usd)
    purse.start()
    try:
        assert set(await purse.ask_at_once("anthropic", [task_id], dice)) == {200}
    finally:
        purse.kill()


async def test_what_a_killed_server_left_counts_at_its_worst_and_is_kept_once(tmp_path, charging):
    charging.rates, charging.troubled = {"input": 1, "output": 10, "cacheRead": 0, "cacheWrite": 1}, False
    purse = Purse(tmp_path, charging)
    task_id = purse.task("anthropic", maxTokens=1_000_000)
    charging.plan([Silent()] * AT_ONCE)
    purse.start()
    asking = asyncio.create_task(purse.ask_at_once("anthropic", [task_id], random.Random(1)))
    deadline = time.monotonic() + 20
    while len(charging.seen) < AT_ONCE and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    before = purse.row("SELECT spent_tokens FROM tasks WHERE id = ?", task_id)["spent_tokens"]
    purse.kill()
    await asking
    for _ in range(2):
        purse.start()
        purse.kill()
        left = purse.row(
            "SELECT count(*) AS n, sum(counted_tokens) AS counted, count(status) AS settled FROM model_calls"
        )
        assert (left["n"], left["settled"]) == (AT_ONCE, AT_ONCE)
        assert left["counted"] == before == purse.row("SELECT spent_tokens FROM tasks")["spent_tokens"]
