"""What is due for a run, case by case: rows, a moment and a few values in, an action out."""

from datetime import UTC, datetime, timedelta

import pytest

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.run.decide import (
    AskToFinish,
    EndRun,
    EndTurn,
    Fail,
    GiveUp,
    Nudge,
    OutOfTime,
    Restart,
    Seen,
    Wait,
    WrapUp,
    decide,
)
from agentcontainer_local.store.db import dumps, iso

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
AT = iso(BEGAN)
LAUNCHED = dumps(["autonomous", "anthropic", "m", None])

TASK = {
    "status": "running",
    "mode": "autonomous",
    "provider": "anthropic",
    "model": "m",
    "weak_model": None,
    "learned_window": None,
    "running_since": AT,
    "used_ms": 0,
    "turn_used_ms": 0,
    "max_runtime_seconds": 600,
    "soft_finish_after_seconds": None,
    "budget_asked_at": None,
    "budget_error": None,
    "to_tell": None,
}
RUN = {
    "launched": LAUNCHED,
    "opened_at": AT,
    "settled_at": None,
    "settled_error": None,
    "soft_told_at": None,
    "budget_asked_at": None,
    "nudges": 0,
    "ended_at": None,
}
TALK = {"mode": "conversation"}
TALKING = {"launched": dumps(["conversation", "anthropic", "m", None])}
SETTLED = {"settled_at": AT}
CUT = {**SETTLED, "settled_error": "cut"}
UNOPENED = {"opened_at": None}
IDLE = {**TALK, "status": "awaiting_input", "running_since": None}
ASLEEP = {"status": "hibernating", "running_since": None}
WOKEN = {"status": "pending", "running_since": None, "to_tell": "external_wake"}
REFUSED = {"budget_asked_at": AT}

CASES = {
    "at work": ({}, {}, 100, Seen(), Wait(440)),
    "at work, and messages wait": ({}, {}, 100, Seen(undelivered=True), Wait(440)),
    "Pi is starting": ({}, UNOPENED, 100, Seen(), Wait(440)),
    "the last part begins": ({}, {}, 540, Seen(), WrapUp()),
    "the last part begins while it starts": ({}, UNOPENED, 540, Seen(), WrapUp()),
    "it was told": ({}, {"soft_told_at": AT}, 541, Seen(), Wait(59)),
    "a short time has no last part": ({"max_runtime_seconds": 59}, {}, 58, Seen(), Wait(1)),
    "as asked": ({"max_runtime_seconds": 59, "soft_finish_after_seconds": 20}, {}, 20, Seen(), WrapUp()),
    "time in earlier runs counts": ({"used_ms": 300_000}, {}, 240, Seen(), WrapUp()),
    "time in earlier turns does not": (
        {**TALK, "used_ms": 300_000, "turn_used_ms": 300_000},
        TALKING,
        240,
        Seen(),
        Wait(300),
    ),
    "out of time": (
        {},
        {},
        600,
        Seen(),
        OutOfTime("The task ran for 600 seconds, its maxRuntimeSeconds, without finishing."),
    ),
    "out of time, settled": (
        TALK,
        {**TALKING, **SETTLED},
        601,
        Seen(),
        OutOfTime("The turn ran for 600 seconds, its maxRuntimeSeconds, without an answer."),
    ),
    "settled once": ({}, SETTLED, 1, Seen(), Nudge()),
    "settled twice": ({}, {**SETTLED, "nudges": 1}, 1, Seen(), Nudge()),
    "settled too often": ({}, {**SETTLED, "nudges": 2}, 1, Seen(), GiveUp()),
    "settled, but there is more to hear": ({}, SETTLED, 1, Seen(undelivered=True), Wait(539)),
    "settled before it was told anything": ({}, {**CUT, **UNOPENED}, 1, Seen(undelivered=True), Fail("cut")),
    "settled after an error": ({}, CUT, 1, Seen(), Fail("cut")),
    "answered": (TALK, {**TALKING, **SETTLED}, 1, Seen(), EndTurn(None)),
    "answered, and messages wait for their turn": (
        TALK,
        {**TALKING, **SETTLED},
        1,
        Seen(undelivered=True),
        EndTurn(None),
    ),
    "could not answer": (TALK, {**TALKING, **CUT}, 1, Seen(), EndTurn("cut")),
    "the budget is used up": (REFUSED, CUT, 1, Seen(), AskToFinish()),
    "the budget is used up, in a conversation": ({**TALK, **REFUSED}, {**TALKING, **CUT}, 1, Seen(), AskToFinish()),
    "the budget was used up, and it was asked": (REFUSED, {**CUT, "budget_asked_at": AT}, 1, Seen(), Fail("cut")),
    "what was kept for finish is used up": ({**REFUSED, "budget_error": "used up"}, CUT, 1, Seen(), Fail("used up")),
    "the budget is used up, but the agent is done": (REFUSED, SETTLED, 1, Seen(), Nudge()),
    "another mode, once its turn is over": (
        {},
        {**TALKING, **SETTLED},
        1,
        Seen(),
        Restart("Pi is started anew, in its new mode."),
    ),
    "another mode, before it began": (
        {},
        {**TALKING, **UNOPENED},
        1,
        Seen(),
        Restart(reason="Pi is started anew, in its new mode."),
    ),
    "another mode, while it works": ({}, TALKING, 1, Seen(), Wait(539)),
    "a smaller window was learned": (
        {"learned_window": 8192},
        CUT,
        1,
        Seen(),
        Restart("The model's context window has 8192 tokens: Pi is started anew to keep to it."),
    ),
    "launch not known": ({}, {"launched": None}, 1, Seen(), Wait(539)),
    "idle": (IDLE, SETTLED, 900, Seen(resting_seconds=20, max_idle_seconds=300), Wait(280)),
    "idle for long": (IDLE, SETTLED, 900, Seen(resting_seconds=300, max_idle_seconds=300), EndRun()),
    "asleep": (ASLEEP, {}, 1, Seen(resting_seconds=0.25), Wait(0.25)),
    "asleep, and the agent knows": (ASLEEP, SETTLED, 1, Seen(), EndRun()),
    "asleep for long enough": (ASLEEP, {}, 1, Seen(resting_seconds=0.5), EndRun()),
    "woken at once": (WOKEN, {}, 1, Seen(resting_seconds=0.25), Wait(0.25)),
    "woken at once, and the agent knows": (WOKEN, SETTLED, 1, Seen(), EndRun()),
    "interrupted": ({"status": "pending", "running_since": None}, {}, 1, Seen(), EndRun()),
    **{
        f"{status}": ({"status": status, "running_since": None}, {}, 1, Seen(), EndRun())
        for status in lifecycle.TERMINAL
    },
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_due(case: str):
    task, run, seconds, seen, due = CASES[case]
    assert decide(TASK | task, RUN | run, BEGAN + timedelta(seconds=seconds), seen) == due


def test_a_task_without_an_open_run_ends_what_is_left_of_it():
    assert decide(TASK, None, BEGAN, Seen()) == EndRun()


def test_in_each_status_something_is_due():
    for status in lifecycle.STATUSES:
        for run in (UNOPENED, {}, SETTLED, CUT):
            decide(TASK | {"status": status}, RUN | run, BEGAN, Seen())
