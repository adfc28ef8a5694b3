"""The life of a run: its table, and that nothing else writes its row."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agentcontainer_local
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import row
from agentcontainer_local.store.tasks import runs
from tests.conftest import Clock
from tests.unit.test_races import running

PACKAGE = Path(agentcontainer_local.__file__).parent
WRITES = re.compile(r"\b(UPDATE(\s+OR\s+\w+)?|INTO|DELETE\s+FROM)\s+[\"'\[`]?runs\b", re.IGNORECASE)

ACTS: dict[str, Callable[[Host, dict], None]] = {
    "launched": lambda host, run: runs.launched(
        host.db, run["id"], tasks.get(host.db, run["task_id"]), "http://model.example", None
    ),
    "got_container": lambda host, run: runs.got_container(host.db, run["id"], "image", "{}"),
    "started": lambda host, run: runs.started(host.db, run["id"], host.now()),
    "prompted": lambda host, run: runs.prompted(host.db, run["id"], host.now()),
    "spoke": lambda host, run: runs.spoke(host.db, run["id"], host.now(), "cut"),
    "settled": lambda host, run: runs.settled(host.db, run["id"], host.now()),
    "nudged": lambda host, run: runs.asked_again(host.db, run["id"], host.now(), "nudged"),
    "asked_to_finish": lambda host, run: runs.asked_again(host.db, run["id"], host.now(), "asked_to_finish"),
    "given_next_turn": lambda host, run: runs.given_next_turn(host.db, run["task_id"], host.now()),
    "told_to_wrap_up": lambda host, run: runs.told_to_wrap_up(host.db, run["id"], host.now()),
    "reported": lambda host, run: runs.reported(host.db, run["id"], 7),
    "lost_pi": lambda host, run: runs.lost_pi(host.db, run["id"], "words"),
    "ended": lambda host, run: runs.end_run(host.db, run["task_id"], host.now()),
}
BY_TASK = ("ended", "given_next_turn")  # nothing happens where the task has no open run


def of(host: Host, run: dict) -> dict:
    return row(host.db, "SELECT * FROM runs WHERE id = ?", (run["id"],))


def begun(host: Host) -> dict:
    return tasks.open_run(host.db, running(host)["id"])


def test_each_event_of_the_table_is_acted_out_here():
    assert set(ACTS) == runs.EVENTS
    assert {state for state, _ in runs.TABLE} == set(runs.OPEN)  # nothing leads out of OVER


@settings(max_examples=150)
@given(st.lists(st.sampled_from(sorted(ACTS)), max_size=12))
def test_any_sequence_of_events_is_a_walk_through_the_table(host: Host, events: list[str]):
    run = begun(host)
    assert runs.state(of(host, run)) == runs.STARTING
    for event in events:
        before = of(host, run)
        state = runs.state(before)
        if (state, event) in runs.TABLE:
            ACTS[event](host, run)
            assert runs.state(of(host, run)) == runs.TABLE[state, event]
        elif state == runs.OVER and event in BY_TASK:
            ACTS[event](host, run)
            assert of(host, run) == before
        else:
            with pytest.raises(runs.IllegalRunMove):
                ACTS[event](host, run)
            assert of(host, run) == before


@pytest.mark.parametrize("why", ["nudged", "asked_to_finish"])
def test_an_agent_at_work_is_not_asked_again(host: Host, why):
    run = begun(host)
    runs.prompted(host.db, run["id"], host.now())
    before = of(host, run)
    with pytest.raises(runs.IllegalRunMove, match="working"):
        runs.asked_again(host.db, run["id"], host.now(), why)
    assert of(host, run) == before


def test_a_run_that_settles_keeps_why_its_last_words_were_cut(host: Host):
    run = begun(host)
    runs.prompted(host.db, run["id"], host.now())
    runs.spoke(host.db, run["id"], host.now(), "The connection was lost.")
    runs.settled(host.db, run["id"], host.now())
    assert of(host, run)["settled_error"] == "The connection was lost."
    runs.asked_again(host.db, run["id"], host.now(), "asked_to_finish")
    runs.spoke(host.db, run["id"], host.now(), None)
    runs.settled(host.db, run["id"], host.now())
    assert of(host, run)["settled_error"] is None


def test_a_new_run_ends_the_one_before(host: Host, clock: Clock):
    first = begun(host)
    clock.advance(5)
    second = tasks.begin_run(host.db, first["task_id"], clock())
    assert runs.state(of(host, first)) == runs.OVER
    assert (runs.state(second), tasks.open_run(host.db, first["task_id"])) == (runs.STARTING, second)


def test_one_module_writes_the_rows_of_runs():
    writers = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if _writes(path.read_text())}
    assert writers == {"store/tasks/runs.py"}


@pytest.mark.parametrize(
    "code",
    ["'UPDATE runs SET x = 1'", "f'INSERT INTO runs ({x})'", "'DELETE'\n ' FROM runs'", "db['runs'].insert({})"],
)
def test_a_writer_is_found_however_it_writes(code: str):
    assert _writes(f"x = ({code})")
    assert not _writes("x = 'SELECT * FROM runs'; y['runs'] if x else None")


def _writes(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "?" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Subscript):
            text = "INTO runs" if ast.unparse(node.value.slice) == "'runs'" else ""  # a table of sqlite-utils
        else:
            continue
        if WRITES.search(text):
            return True
    return False
