"""Budgets: the worst case of a call is reserved before the call, and replaced by its actual usage afterwards.

A call has a row in `model_calls` from before it starts. The row counts at its worst case while the call is in progress,
and for ever if its usage is never reported (the guest cut the connection, or the server was killed). So the sum in a
budget is never less than what was spent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from agentcontainer_local import schemas
from agentcontainer_local.errors import Invalid
from agentcontainer_local.money import in_cents, rounded_up, to_usd
from agentcontainer_local.prices import Prices
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import accounts, model_settings
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Columns, Database, insert, iso, row, single
from agentcontainer_local.store.rows import Task
from agentcontainer_local.store.tasks.model_calls import failed_before
from agentcontainer_local.store.tasks.provider_choice import SCRIPTED
from agentcontainer_local.store.tasks.rows import get

TOLD_PERCENT = 80  # of a budget; from here on the agent is warned
# Kept back so that the agent can still call `finish`: this many calls of the size of the call that no longer fits,
LAST_CALLS = 2
LAST_OUTPUT_TOKENS = 1000
LAST_SHARE = 5  # but never more than one fifth of the budget
MIN_OUTPUT_TOKENS = 1024  # a call with a smaller limit is useless
MIN_LAST_OUTPUT_TOKENS = 256
SILENT = 504  # the HTTP status of a call that was not answered in time
FREELY_TOKENS = 8192  # a call that may write more than this leaves half of the rest of the budget to other calls


Whose = Literal["task", "account"]
Counts = Literal["told", "nothing", "worst"]


@dataclass(frozen=True)
class Usage:
    """The usage of one model call. `input_tokens` excludes tokens from a cache; `complete`: the answer was not cut."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_microusd: int | None  # None: the provider did not report it and the price table has no price
    status: int  # HTTP status; 499: the guest disconnected first; 502 or 504: the provider failed
    complete: bool
    counts: Counts = "told"  # what budgets count: the reported usage, nothing, or the reserved worst case
    guessed: bool = False  # the provider did not report the length of the prompt
    error: str | None = None  # a message for people
    detail: str | None = None  # the provider's own message

    @property
    def estimated(self) -> bool:
        return self.counts == "worst" or self.guessed


@dataclass(frozen=True)
class Worst:
    """The most that one call can use. Prices are in micro-USD per token, None if unknown."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int  # the limit that was requested
    input_price: Decimal | None
    output_price: Decimal | None
    exact: bool = False  # the call uses exactly this much output, and can't be shortened
    times: int = 1  # number of models that may be asked one after another, each at this worst case

    def microusd(self, output_tokens: int) -> int:
        if self.input_price is None or self.output_price is None:
            return 0
        cost = self.input_tokens * self.input_price + output_tokens * self.output_price
        return rounded_up(cost * self.times)

    def tokens(self, output_tokens: int) -> int:
        return (self.input_tokens + output_tokens) * self.times


@dataclass(frozen=True)
class Reserved:
    """A call that may be made. `number` identifies its row; `output_tokens` is its output limit.

    `attempt`: 1, plus one for each call directly before it that failed. `silent_before`: how many of those were not
    answered in time.
    """

    number: int
    output_tokens: int
    attempt: int = 1
    silent_before: int = 0


class Refused(Exception):
    """The call does not fit into the rest of the budget. The agent sees the message. It must not contain words that Pi
    takes for a temporary error, such as "timeout", because Pi would retry the call."""

    def __init__(self, message: str, others_at_work: bool = False):
        super().__init__(message)
        self.others_at_work = others_at_work  # room may become free when those calls end


@dataclass(frozen=True)
class _Limit:
    """One budget, of a task or of an account."""

    kind: Literal["maxCostUsd", "maxTokens"]
    whose: Whose
    most: int  # micro-USD or tokens
    spent: int

    def room(self, worst: Worst, last: bool) -> int:
        kept = 0 if last else min(self.most // LAST_SHARE, LAST_CALLS * self.used(worst, LAST_OUTPUT_TOKENS))
        return self.most - kept - self.spent

    def used(self, worst: Worst, output_tokens: int) -> int:
        return worst.microusd(output_tokens) if self.kind == "maxCostUsd" else worst.tokens(output_tokens)

    def output_tokens(self, worst: Worst, last: bool) -> int:
        """The number of output tokens that fit; negative if even the input does not fit."""
        room = self.room(worst, last)
        if self.kind == "maxTokens":
            return room // worst.times - worst.input_tokens
        room -= worst.microusd(0)
        if room < 0 or not worst.output_price:
            return -1 if room < 0 else worst.output_tokens
        return int((room / worst.output_price / worst.times).to_integral_value(ROUND_FLOOR))

    def __str__(self) -> str:
        most = f"{to_usd(self.most):g}" if self.kind == "maxCostUsd" else str(self.most)
        return f"the {self.whose}'s {self.kind} of {most}"


def capped(db: Database, task: Task) -> bool:
    """Whether the task or its account has a budget."""
    return next(_limits(db, task, ""), None) is not None


def _limits(db: Database, task: Task, month: str) -> Iterator[_Limit]:
    account = accounts.budget(db, task["account_id"], month)
    holders: tuple[tuple[Whose, Columns], ...] = ("task", task), ("account", account)
    for whose, holder in holders:
        if holder["max_cost_microusd"] is not None:
            yield _Limit("maxCostUsd", whose, holder["max_cost_microusd"], holder["spent_microusd"])
        if holder["max_tokens"] is not None:
            yield _Limit("maxTokens", whose, holder["max_tokens"], holder["spent_tokens"])


def check_price(context: Context, task: Columns) -> None:
    """Raises Invalid if there is a budget in USD, but no price for one of the task's models."""
    db = context.db
    holders = task, accounts.budget(db, task["account_id"], "")
    if task["model"] == SCRIPTED or all(holder["max_cost_microusd"] is None for holder in holders):
        return
    whose = "This task" if task["max_cost_microusd"] is not None else "This account (`agentcontainer budget show`)"
    provider, named = task["provider"], {"model": task["model"], "weakModel": task["weak_model"]}
    free = model_settings.free(db, task["account_id"], provider, list(filter(None, named.values())), context.environ)
    prices = Prices.read(context.settings.prices_file).with_free(free)
    for field, model in named.items():
        if model is not None and prices.find(provider, model) is None:
            raise Invalid.field(
                f"overrides.{field}",
                f"there is no price for {model} of {provider}. {whose} has a budget in USD, which"
                " needs one. Mark the model as free (`agentcontainer providers set"
                f" {provider} --model {model} --free`), use maxTokens instead, name another model, or give the server"
                " a table with its price (`serve --prices-file`)",
            )


def reserve(db: Database, task_id: str, worst: Worst, now: datetime) -> Reserved:
    """Reserves the worst case in one transaction, or raises Refused. The output limit may be reduced to what fits.

    The reservation survives kill -9, but not a loss of power. That is safe: a loss of power ends the call too, and
    everything settled before is on disk. Waiting for the disk here would delay the first byte of each answer.
    """
    with db.atomic(survives_power_loss=False):
        task = get(db, task_id)
        limits = list(_limits(db, task, iso(now)[:7]))
        last = task["budget_asked_at"] is not None
        output_tokens = _granted(worst, limits, last)
        if output_tokens is not None:
            if task["budget_error"] is not None:
                db.conn.execute("UPDATE tasks SET budget_error = NULL WHERE id = ?", (task_id,))
                db.touched(task_id)
            return _insert(db, task, worst, output_tokens, now)
    raise _refused(db, task, worst, limits, last, now)


def _granted(worst: Worst, limits: list[_Limit], last: bool) -> int | None:
    """The output tokens that fit; None if that is too few for a useful call."""
    if any(limit.kind == "maxCostUsd" for limit in limits) and worst.input_price is None:
        return None
    room = min((limit.output_tokens(worst, last) for limit in limits), default=worst.output_tokens)
    least = min(worst.output_tokens, MIN_LAST_OUTPUT_TOKENS if last else MIN_OUTPUT_TOKENS)
    if room < (worst.output_tokens if worst.exact else least):
        return None
    return (
        min(worst.output_tokens, room if room < FREELY_TOKENS else max(FREELY_TOKENS, room // 2))
        if (limits and not worst.exact)
        else worst.output_tokens
    )


def _insert(db: Database, task: Task, worst: Worst, output_tokens: int, now: datetime) -> Reserved:
    before = failed_before(db, task)
    attempt = before["attempt"] + 1 if before else 1
    number = insert(
        db,
        "INSERT INTO model_calls (account_id, task_id, turn_number, provider, model, counted_microusd, counted_tokens,"
        " attempt, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task["account_id"],
            task["id"],
            task["turn_number"],
            worst.provider,
            worst.model,
            worst.microusd(output_tokens),
            worst.tokens(output_tokens),
            attempt,
            iso(now),
        ),
    )
    return Reserved(number, output_tokens, attempt, int(before is not None and before["status"] == SILENT))


def _refused(db: Database, task: Task, worst: Worst, limits: list[_Limit], last: bool, now: datetime) -> Refused:
    """The reason for a refusal. Calls in progress may free some budget when they end. Otherwise the task fails, or the
    agent is asked to finish with what was kept back."""
    if worst.input_price is None and any(limit.kind == "maxCostUsd" for limit in limits):
        return Refused(f"There is no price for {worst.model}, so a budget in USD can't be kept.")
    tight = min(limits, key=lambda limit: limit.output_tokens(worst, last))
    at_work = single(
        db,
        "SELECT count(*) AS n FROM model_calls WHERE account_id = ? AND status IS NULL"
        " AND (? = 'account' OR task_id = ?)",
        (task["account_id"], tight.whose, task["id"]),
    )
    if at_work["n"]:
        return Refused("Other calls are at work.", others_at_work=True)
    reason = f"The budget is used up: {tight}."
    with db.atomic():
        if not tight.spent:
            reason = f"{tight} is too small for one call of this task: the least is {_least(tight, worst)}."
            _fail_later(db, task, f"{reason[0].upper()}{reason[1:]}")
        elif last:
            reason = f"{reason} The agent did not finish with what was kept for that."
            _fail_later(db, task, reason)
        else:
            db.conn.execute("UPDATE tasks SET budget_asked_at = ? WHERE id = ?", (iso(now), task["id"]))
            db.touched(task["id"])
    return Refused(reason)


def _fail_later(db: Database, task: Task, error: str) -> None:
    """Marks the task to fail with this error. If its last model call failed, that error is appended."""
    failed = failed_before(db, task)
    why = f"{error} The last model call failed: {failed['error']}" if failed else error
    db.conn.execute("UPDATE tasks SET budget_error = ? WHERE id = ?", (why, task["id"]))
    db.touched(task["id"])


def _least(limit: _Limit, worst: Worst) -> str:
    """The smallest budget of this kind in which the call fits and a similar call is left for `finish`."""
    used = limit.used(worst, min(worst.output_tokens, MIN_OUTPUT_TOKENS))
    kept = LAST_CALLS * limit.used(worst, LAST_OUTPUT_TOKENS)
    most = min(used + kept, -(-used * LAST_SHARE // (LAST_SHARE - 1)))
    return in_cents(most) if limit.kind == "maxCostUsd" else str(-(-most // 1000) * 1000)


def settle(db: Database, number: int, usage: Usage, now: datetime) -> None:
    """Replaces the reservation by the actual usage, once. Plans a warning if the budget is nearly used up."""
    failpoints.point("usage.recording")
    with db.atomic():
        call = row(db, "SELECT * FROM model_calls WHERE number = ? AND status IS NULL", (number,))
        if call is None:
            return
        counted = {
            "told": (usage.cost_microusd or 0, usage.input_tokens + usage.cache_write_tokens + usage.output_tokens),
            "nothing": (0, 0),
            "worst": (call["counted_microusd"], call["counted_tokens"]),
        }[usage.counts]
        db.conn.execute(
            "UPDATE model_calls SET model = ?, input_tokens = ?, output_tokens = ?, cache_read_tokens = ?,"
            " cache_write_tokens = ?, cost_microusd = ?, status = ?, estimated = ?, error = ?, error_detail = ?,"
            " ended_at = ?, counted_microusd = ?, counted_tokens = ? WHERE number = ?",
            (
                usage.model,
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_tokens,
                usage.cost_microusd,
                usage.status,
                usage.estimated,
                usage.error,
                usage.detail,
                iso(now),
                *counted,
                number,
            ),
        )
        _plan_warning(db, call["task_id"], now)


def settle_leftovers(db: Database) -> int:
    """At the server's start: closes the calls that a killed server left open. Their usage is unknown, so the worst case
    stays counted."""
    return db.conn.execute(
        "UPDATE model_calls SET status = 0, estimated = 1, cost_microusd = counted_microusd,"
        " input_tokens = counted_tokens, error = 'The server was ended before the answer was whole.'"
        " WHERE status IS NULL"
    ).rowcount


def _plan_warning(db: Database, task_id: str, now: datetime) -> None:
    task = get(db, task_id)
    if task["budget_told_at"] is None and any(
        (limit.spent - _at_work(db, task, limit)) * 100 >= limit.most * TOLD_PERCENT
        for limit in _limits(db, task, iso(now)[:7])
    ):
        db.conn.execute("UPDATE tasks SET budget_told_at = ? WHERE id = ?", (iso(now), task_id))
        db.touched(task_id)


def _at_work(db: Database, task: Task, limit: _Limit) -> int:
    counted = single(
        db,
        "SELECT total(counted_microusd) AS maxCostUsd, total(counted_tokens) AS maxTokens FROM model_calls"
        " WHERE account_id = ? AND status IS NULL AND (? = 'account' OR task_id = ?)",
        (task["account_id"], limit.whose, task["id"]),
    )
    return int(counted[limit.kind])


def shape(db: Database, task: Task) -> schemas.Budget | None:
    """None if the task has no budget of its own."""
    if task["max_cost_microusd"] is None and task["max_tokens"] is None:
        return None
    worst = single(
        db,
        "SELECT total(microusd) AS microusd, total(tokens) AS tokens FROM (SELECT estimated_microusd AS microusd,"
        " estimated_tokens AS tokens FROM usage WHERE task_id = :task AND turn_number = 0 UNION ALL"
        " SELECT counted_microusd, counted_tokens FROM model_calls"
        " WHERE account_id = :account AND task_id = :task AND status IS NULL)",
        {"task": task["id"], "account": task["account_id"]},
    )
    return schemas.Budget(
        worst_case_cost_usd=to_usd(worst["microusd"]) or None,
        worst_case_tokens=int(worst["tokens"]) or None,
        max_cost_usd=to_usd(task["max_cost_microusd"]),
        max_tokens=task["max_tokens"],
        used_cost_usd=to_usd(task["spent_microusd"]),
        used_tokens=task["spent_tokens"],
    )
