"""Runs: one life of a task's container each. This module alone writes their rows, along the arrows of `TABLE`.

STARTING: nothing was given to the agent yet. WORKING: it has a prompt. SETTLED: Pi said that it is done with it, or
that it failed. OVER: the run has ended; a message from here on starts another.
"""

from datetime import datetime
from typing import Literal

from agentcontainer_local.store.db import Columns, Database, dumps, iso, row, single
from agentcontainer_local.store.rows import Run, Task

STARTING, WORKING, SETTLED, OVER = "starting", "working", "settled", "over"
OPEN = (STARTING, WORKING, SETTLED)

# `spoke` and `prompted` come from the guest, in whichever order it reports.
_ARROWS = {
    (STARTING, "prompted"): WORKING,
    (STARTING, "settled"): SETTLED,
    (WORKING, "settled"): SETTLED,
    (SETTLED, "prompted"): WORKING,
    (SETTLED, "spoke"): WORKING,
    (SETTLED, "nudged"): WORKING,
    (SETTLED, "asked_to_finish"): WORKING,
    (SETTLED, "given_next_turn"): WORKING,
    **{(state, "ended"): OVER for state in OPEN},
}
_STAYS = {
    "launched": (STARTING,),
    "got_container": OPEN,  # the guest may have been quicker
    "started": OPEN,  # a server that takes a run up from an earlier one says it again
    "prompted": (WORKING,),
    "spoke": (STARTING, WORKING),
    "settled": (SETTLED,),
    "given_next_turn": (STARTING, WORKING),
    "told_to_wrap_up": OPEN,
    "reported": OPEN,
    "lost_pi": OPEN,
}
TABLE: dict[tuple[str, str], str] = _ARROWS | {(at, event): at for event, states in _STAYS.items() for at in states}
EVENTS = frozenset(event for _, event in TABLE)


class IllegalRunMove(RuntimeError):
    """The event leads nowhere from this state; nothing was changed."""


def state(run: Columns) -> str:
    """Where a run stands, from its columns."""
    if run["ended_at"] is not None:
        return OVER
    if run["settled_at"] is not None:
        return SETTLED
    return STARTING if run["opened_at"] is None else WORKING


OPEN_RUN = "SELECT * FROM runs WHERE task_id = ? AND ended_at IS NULL"


def open_run(db: Database, task_id: str) -> Run | None:
    """The run that has not ended, if there is one."""
    return row(db, OPEN_RUN, (task_id,), of=Run)


def at_work(db: Database, run_id: str) -> bool:
    """Whether this run is the task's present one: being started, or running. A run that is to end is not, even if the
    task has been woken meanwhile."""
    found = row(
        db,
        "SELECT 1 FROM runs JOIN tasks ON tasks.id = task_id WHERE runs.id = ? AND ended_at IS NULL"
        " AND (status = 'running' OR (status = 'pending' AND runs.started_at IS NULL))",
        (run_id,),
    )
    return found is not None


def is_first_run(db: Database, run: Run) -> bool:
    """Whether there can't be a container of an earlier one."""
    earlier = row(db, "SELECT 1 FROM runs WHERE task_id = ? AND number < ?", (run["task_id"], run["number"]))
    return earlier is None


def fits(task: Task, run: Run) -> bool:
    """Whether Pi was started as the task is now; its mode and its models can't be changed while it runs."""
    return run["launched"] in (None, _launch(task))


def _launch(task: Task) -> str:
    learned = [] if task["learned_window"] is None else [task["learned_window"]]
    return dumps([task["mode"], task["provider"], task["model"], task["weak_model"], *learned])


# The transitions


def begin_run(db: Database, task_id: str, now: datetime) -> Run:
    """A new one. What was still open is over: its container does not run, or it would have been taken up again."""
    with db.atomic():
        end_run(db, task_id, now)
        db.conn.execute(
            "INSERT INTO runs (id, task_id, created_at) VALUES (?, ?, ?)",
            (db.ids.new("run", task_id), task_id, iso(now)),
        )
        db.touched(task_id)
        return single(db, OPEN_RUN, (task_id,), of=Run)


def end_run(db: Database, task_id: str, now: datetime) -> None:
    """The task's open run, if it has one, is over: from here on a message starts a new one."""
    if (run := open_run(db, task_id)) is not None:
        _move(db, run["id"], "ended", "ended_at = :at", at=iso(now))


def launched(db: Database, run_id: str, task: Task, base_url: str, provider_key: bytes | None) -> None:
    """Pi is to be started for the task as it is now; its calls go to this address. `provider_key` is encrypted."""
    changes = "launched = :launched, base_url = :base_url, provider_key = :provider_key"
    _move(db, run_id, "launched", changes, launched=_launch(task), base_url=base_url, provider_key=provider_key)


def got_container(db: Database, run_id: str, image: str, walls: str) -> None:
    """`walls`: JSON, what this machine enforces for it."""
    changes = "image = :image, walls = :walls"
    _move(db, run_id, "got_container", changes, image=image, walls=walls)


def started(db: Database, run_id: str, now: datetime) -> None:
    """Its container runs."""
    _move(db, run_id, "started", "started_at = coalesce(started_at, :at)", at=iso(now))


def prompted(db: Database, run_id: str, now: datetime) -> None:
    """Pi has taken a prompt."""
    changes = "opened_at = coalesce(opened_at, :at), settled_at = NULL, settled_error = NULL"
    _move(db, run_id, "prompted", changes, at=iso(now))


def spoke(db: Database, run_id: str, now: datetime, error: str | None) -> None:
    """Pi has said something; `error`: why that was not whole. If Pi settles next, that is why."""
    _go_on(db, run_id, "spoke", now, "settled_error = :error", error=error)


def settled(db: Database, run_id: str, now: datetime, error: str | None = None) -> None:
    """Pi is done with what it was asked. `error`: what went wrong, if that is something else than it said last."""
    changes = "settled_at = :at, settled_error = coalesce(:error, settled_error)"
    _move(db, run_id, "settled", changes, at=iso(now), error=error)


def asked_again(db: Database, run_id: str, now: datetime, why: Literal["nudged", "asked_to_finish"]) -> None:
    """A settled agent is told to call `finish` (nudged), or to do so with what it has (its budget is used up)."""
    counted = {"nudged": "nudges = nudges + 1", "asked_to_finish": "budget_asked_at = :at"}[why]
    _go_on(db, run_id, why, now, f"{counted}, settled_error = NULL")


def given_next_turn(db: Database, task_id: str, now: datetime) -> None:
    """The open run, if there is one, gets the conversation's next message."""
    if (run := open_run(db, task_id)) is not None:
        _go_on(db, run["id"], "given_next_turn", now, "settled_error = NULL, soft_told_at = NULL")


def told_to_wrap_up(db: Database, run_id: str, now: datetime) -> None:
    _move(db, run_id, "told_to_wrap_up", "soft_told_at = :at", at=iso(now))


def reported(db: Database, run_id: str, seq: int) -> None:
    """All of the guest's events up to this number are stored."""
    _move(db, run_id, "reported", "guest_seq = :seq", seq=seq)


def lost_pi(db: Database, run_id: str, last_words: str) -> None:
    """Pi has died, or did not start; the container follows it."""
    _move(db, run_id, "lost_pi", "last_words = :words", words=last_words)


def _go_on(db: Database, run_id: str, event: str, now: datetime, changes: str, **values: object) -> None:
    """To WORKING from SETTLED, even if Pi has settled without having been given anything."""
    opened = "opened_at = CASE WHEN settled_at IS NULL THEN opened_at ELSE coalesce(opened_at, :at) END"
    _move(db, run_id, event, f"{opened}, settled_at = NULL, {changes}", at=iso(now), **values)


def _move(db: Database, run_id: str, event: str, changes: str, **values: object) -> None:
    """`changes`: the columns, in the words of an UPDATE; raises IllegalRunMove, and then nothing has changed."""
    run = single(db, "SELECT task_id, opened_at, settled_at, ended_at FROM runs WHERE id = ?", (run_id,))
    if (state(run), event) not in TABLE:
        raise IllegalRunMove(f"A run that is {state(run)} can't be {event}: {run_id}")
    db.conn.execute(f"UPDATE runs SET {changes} WHERE id = :run", {"run": run_id, **values})
    db.touched(run["task_id"])
