"""Runs: each is one container of a task, from its start to its end. Only this module writes their rows, following
`TABLE`.

STARTING: the agent has no prompt yet. WORKING: the agent has a prompt. SETTLED: Pi reported that it is done with the
prompt, or that it failed. OVER: the run has ended; the next message starts another run.
"""

from datetime import datetime
from typing import Literal

from agentcontainer_local.store.db import Columns, Database, dumps, iso, row, single
from agentcontainer_local.store.rows import Run, Task

STARTING, WORKING, SETTLED, OVER = "starting", "working", "settled", "over"
OPEN = (STARTING, WORKING, SETTLED)

# The guest reports `spoke` and `prompted` in either order.
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
    "got_container": OPEN,  # the guest may report first
    "started": OPEN,  # a server that adopts a run reports this again
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
    """This event is not allowed in this state. Nothing was changed."""


def state(run: Columns) -> str:
    """The state of a run, derived from its columns."""
    if run["ended_at"] is not None:
        return OVER
    if run["settled_at"] is not None:
        return SETTLED
    return STARTING if run["opened_at"] is None else WORKING


OPEN_RUN = "SELECT * FROM runs WHERE task_id = ? AND ended_at IS NULL"


def open_run(db: Database, task_id: str) -> Run | None:
    """The task's run that has not ended, or None."""
    return row(db, OPEN_RUN, (task_id,), of=Run)


def at_work(db: Database, run_id: str) -> bool:
    """Whether this run is the task's current one: starting or running. A run that is about to end does not count, even
    if the task has been woken since."""
    found = row(
        db,
        "SELECT 1 FROM runs JOIN tasks ON tasks.id = task_id WHERE runs.id = ? AND ended_at IS NULL"
        " AND (status = 'running' OR (status = 'pending' AND runs.started_at IS NULL))",
        (run_id,),
    )
    return found is not None


def is_first_run(db: Database, run: Run) -> bool:
    """Whether the task has no earlier run, and so no container of an earlier run."""
    earlier = row(db, "SELECT 1 FROM runs WHERE task_id = ? AND number < ?", (run["task_id"], run["number"]))
    return earlier is None


def fits(task: Task, run: Run) -> bool:
    """Whether Pi was started with the task's present mode and models. They can't change while Pi runs."""
    return run["launched"] in (None, _launch(task))


def _launch(task: Task) -> str:
    learned = [] if task["learned_window"] is None else [task["learned_window"]]
    return dumps([task["mode"], task["provider"], task["model"], task["weak_model"], *learned])


# The transitions


def begin_run(db: Database, task_id: str, now: datetime) -> Run:
    """Inserts a new run. An open run is ended first: its container is gone, or the server would have adopted it."""
    with db.atomic():
        end_run(db, task_id, now)
        db.conn.execute(
            "INSERT INTO runs (id, task_id, created_at) VALUES (?, ?, ?)",
            (db.ids.new("run", task_id), task_id, iso(now)),
        )
        db.touched(task_id)
        return single(db, OPEN_RUN, (task_id,), of=Run)


def end_run(db: Database, task_id: str, now: datetime) -> None:
    """Ends the task's open run, if it has one. The next message starts a new one."""
    if (run := open_run(db, task_id)) is not None:
        _move(db, run["id"], "ended", "ended_at = :at", at=iso(now))


def launched(db: Database, run_id: str, task: Task, base_url: str, provider_key: bytes | None) -> None:
    """Pi is about to start for the task as it is now. Model calls go to `base_url`. `provider_key` is encrypted."""
    changes = "launched = :launched, base_url = :base_url, provider_key = :provider_key"
    _move(db, run_id, "launched", changes, launched=_launch(task), base_url=base_url, provider_key=provider_key)


def got_container(db: Database, run_id: str, image: str, walls: str) -> None:
    """`walls`: JSON, how this machine enforces the container's limits and isolation."""
    changes = "image = :image, walls = :walls"
    _move(db, run_id, "got_container", changes, image=image, walls=walls)


def started(db: Database, run_id: str, now: datetime) -> None:
    """The container runs."""
    _move(db, run_id, "started", "started_at = coalesce(started_at, :at)", at=iso(now))


def prompted(db: Database, run_id: str, now: datetime) -> None:
    """Pi has taken a prompt."""
    changes = "opened_at = coalesce(opened_at, :at), settled_at = NULL, settled_error = NULL"
    _move(db, run_id, "prompted", changes, at=iso(now))


def spoke(db: Database, run_id: str, now: datetime, error: str | None) -> None:
    """Pi wrote a message. `error`: why the message is incomplete. If Pi settles next, this becomes the reason."""
    _go_on(db, run_id, "spoke", now, "settled_error = :error", error=error)


def settled(db: Database, run_id: str, now: datetime, error: str | None = None) -> None:
    """Pi is done with its prompt. `error`: what failed, if that differs from the error of its last message."""
    changes = "settled_at = :at, settled_error = coalesce(:error, settled_error)"
    _move(db, run_id, "settled", changes, at=iso(now), error=error)


def asked_again(db: Database, run_id: str, now: datetime, why: Literal["nudged", "asked_to_finish"]) -> None:
    """A settled agent is asked to call `finish`: it did not (`nudged`), or its budget is used up."""
    counted = {"nudged": "nudges = nudges + 1", "asked_to_finish": "budget_asked_at = :at"}[why]
    _go_on(db, run_id, why, now, f"{counted}, settled_error = NULL")


def given_next_turn(db: Database, task_id: str, now: datetime) -> None:
    """Gives the open run, if there is one, the conversation's next message."""
    if (run := open_run(db, task_id)) is not None:
        _go_on(db, run["id"], "given_next_turn", now, "settled_error = NULL, soft_told_at = NULL")


def told_to_wrap_up(db: Database, run_id: str, now: datetime) -> None:
    _move(db, run_id, "told_to_wrap_up", "soft_told_at = :at", at=iso(now))


def reported(db: Database, run_id: str, seq: int) -> None:
    """Stores that all of the guest's events up to number `seq` are stored."""
    _move(db, run_id, "reported", "guest_seq = :seq", seq=seq)


def lost_pi(db: Database, run_id: str, last_words: str) -> None:
    """Pi died or did not start. Its container ends next."""
    _move(db, run_id, "lost_pi", "last_words = :words", words=last_words)


def _go_on(db: Database, run_id: str, event: str, now: datetime, changes: str, **values: object) -> None:
    """Moves from SETTLED to WORKING, also if Pi settled before it had a prompt."""
    opened = "opened_at = CASE WHEN settled_at IS NULL THEN opened_at ELSE coalesce(opened_at, :at) END"
    _move(db, run_id, event, f"{opened}, settled_at = NULL, {changes}", at=iso(now), **values)


def _move(db: Database, run_id: str, event: str, changes: str, **values: object) -> None:
    """`changes`: the SET clause of the UPDATE. Raises IllegalRunMove; then nothing has changed."""
    run = single(db, "SELECT task_id, opened_at, settled_at, ended_at FROM runs WHERE id = ?", (run_id,))
    if (state(run), event) not in TABLE:
        raise IllegalRunMove(f"A run that is {state(run)} can't be {event}: {run_id}")
    db.conn.execute(f"UPDATE runs SET {changes} WHERE id = :run", {"run": run_id, **values})
    db.touched(run["task_id"])
