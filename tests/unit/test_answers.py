"""The answers of ended tasks are kept as JSON, and are never older than the rows; pending tasks know their position."""

import contextlib
import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local import schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, tasks
from agentcontainer_local.store.db import row, rows
from agentcontainer_local.store.tasks.answers import ENTRY_BYTES, MAX_BYTES, Answers
from tests.unit.test_lifecycle import dispatched
from tests.unit.test_many_tasks import model_called, steps

MANY = 3000


async def ended(client, host: Host) -> str:
    """A task that has ended, and whose answer was asked for."""
    task = dispatched(host)
    tasks.begin_run(host.db, task["id"], host.now())
    tasks.apply(host.db, task["id"], "started", host.now())
    tasks.apply(host.db, task["id"], "finished", host.now(), result="Done", completion="complete")
    await client.get(f"/tasks/{task['id']}")
    return task["id"]


LIMIT = {"value": 1, "by": "cgroup"}
LIMITS = dict.fromkeys(("memoryMb", "cpus", "processes", "openFiles", "workspaceMb"), LIMIT)
WALLS = json.dumps({"isolation": "container", "network": "none", "limits": LIMITS, "warnings": []})
CHANGES = {
    "its title": lambda host, id: tasks.rename(host.db, id, "Another title"),
    "a late model call": lambda host, id: model_called(host, tasks.get(host.db, id), turn=None),
    "its agent's name": lambda host, id: host.db.conn.execute("UPDATE agents SET name = 'Another'"),
    "its image": lambda host, id: host.db.conn.execute("UPDATE container_versions SET preset = NULL, image = 'x'"),
    "its run": lambda host, id: host.db.conn.execute("UPDATE runs SET walls = ?", (WALLS,)),
    "its result": lambda host, id: host.db.conn.execute("UPDATE tasks SET result = 'Else' WHERE id = ?", (id,)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("path", ["/tasks/{id}", "/tasks"])
async def test_the_answer_of_an_ended_task_is_as_its_rows_are(client, host: Host, path: str, change):
    id = await ended(client, host)
    path = path.format(id=id)
    before = (await client.get(path)).content
    change(host, id)
    after = (await client.get(path)).content
    host.answers = Answers()
    assert (await client.get(path)).content == after
    assert before != after


@pytest.mark.parametrize("path", ["/tasks/{id}", "/tasks"])
async def test_what_another_program_has_changed_is_answered_as_it_is_now(client, host: Host, path: str):
    id = await ended(client, host)
    path = path.format(id=id)
    await client.get(path)
    with contextlib.closing(sqlite3.connect(db.path(host.db))) as shell:
        shell.execute("UPDATE tasks SET title = 'Another title'")
        shell.commit()
    assert b"Another title" in (await client.get(path)).content
    assert host.answers.get(host.db, tasks.get(host.db, id)["account_id"], id) is not None


async def test_what_is_taken_back_is_not_in_any_answer(client, host: Host):
    id = await ended(client, host)
    before = (await client.get(f"/tasks/{id}")).content
    with pytest.raises(RuntimeError), host.db.atomic():
        tasks.rename(host.db, id, "Another title")
        raise RuntimeError
    assert (await client.get(f"/tasks/{id}")).content == before
    with host.db.atomic():
        host.answers.keep(host.db, "acc", id, b"of rows that may be taken back")
    assert host.answers.get(host.db, "acc", id) is None


async def test_an_answer_that_is_kept_is_only_for_the_task_s_account(client, stranger, host: Host):
    id = await ended(client, host)
    assert (await stranger.get(f"/tasks/{id}")).status_code == 404
    assert (await stranger.get("/tasks")).json()["data"] == []
    assert (await client.get(f"/tasks/{id}")).status_code == 200


async def test_a_page_is_the_same_whether_its_answers_were_kept_or_not(client, host: Host):
    for _ in range(3):
        await ended(client, host)
        dispatched(host)
    page = (await client.get("/tasks?limit=5")).json()
    host.answers = Answers()
    fresh = await client.get("/tasks?limit=5")
    assert fresh.json() == page
    shape = schemas.ListTasksResponse.model_validate_json(fresh.content)
    assert shape.model_dump_json(by_alias=True).encode() == fresh.content
    assert [task["status"] for task in page["data"]] == ["pending", "finished"] * 2 + ["pending"]
    rest = (await client.get("/tasks", params={"cursor": page["pageInfo"]["nextCursor"]})).json()
    assert [task["status"] for task in rest["data"]] == ["finished"] and not rest["pageInfo"]["hasMore"]


async def test_a_page_reads_the_token_usage_of_all_its_tasks_with_one_statement(client, host: Host):
    for _ in range(5):
        task = dispatched(host)
        tasks.apply(host.db, task["id"], "started", host.now())
        model_called(host, task, turn=None)
    asked: list[str] = []
    host.db.conn.set_trace_callback(asked.append)
    page = (await client.get("/tasks")).json()
    host.db.conn.set_trace_callback(None)
    assert [task["tokenUsage"]["inputTokens"] for task in page["data"]] == [7] * 5
    assert len([sql for sql in asked if "JOIN usage" in sql]) == 1


def test_the_answers_have_a_bound_and_those_asked_for_last_stay(host: Host):
    size = MAX_BYTES // 10 - ENTRY_BYTES
    answers = host.answers
    for number in range(10):
        answers.keep(host.db, "acc", f"tsk_{number}", bytes(size))
    assert answers.get(host.db, "acc", "tsk_0") is not None
    answers.keep(host.db, "acc", "tsk_10", bytes(size))
    left = [number for number in range(11) if answers.get(host.db, "acc", f"tsk_{number}") is not None]
    assert left == [0, *range(2, 11)]
    answers.keep(host.db, "acc", "tsk_huge", bytes(2 * MAX_BYTES))
    assert answers.get(host.db, "acc", "tsk_huge") is None


# Pending tasks


def pending_copies(host: Host) -> None:
    """Many more that wait."""
    columns = [one["name"] for one in rows(host.db, "PRAGMA table_info(tasks)") if one["name"] != "number"]
    values = ", ".join("'tsk_' || i" if name == "id" else f"last.{name}" for name in columns)
    host.db.conn.execute(
        f"WITH RECURSIVE many(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM many WHERE i < {MANY})"
        f" INSERT INTO tasks ({', '.join(columns)}) SELECT {values} FROM many,"
        " (SELECT * FROM tasks ORDER BY number DESC LIMIT 1) AS last"
    )


@settings(max_examples=30)  # each looks at hundreds of tasks
@given(
    moves=st.lists(st.tuples(st.integers(1, 400), st.sampled_from(["cancelled", "pending", "expired"])), max_size=30)
)
def test_positions_in_the_queue_are_those_that_counting_finds(host: Host, moves):
    with pytest.raises(RuntimeError), host.db.atomic():  # each example begins with the same rows
        dispatched(host)
        pending_copies(host)
        first = row(host.db, "SELECT min(number) AS first FROM tasks")["first"]
        for number, status in moves:
            ended_at = None if status == "pending" else "2026-01-01T00:00:00.000Z"
            sql = "UPDATE tasks SET status = ?, completed_at = ? WHERE number = ?"
            host.db.conn.execute(sql, (status, ended_at, first + number))
        found = rows(host.db, "SELECT id FROM tasks WHERE status = 'pending' ORDER BY number LIMIT 600")
        whole = tasks.each_whole(host.db, [task["id"] for task in found])
        assert [task["queue_position"] for task in whole] == list(range(1, len(found) + 1))
        counted = row(host.db, "SELECT count(*) AS n FROM tasks WHERE status = 'pending'")["n"]
        assert tasks.pending(host.db) == counted
        raise RuntimeError


def looked_at(host: Host) -> None:
    task = row(host.db, "SELECT id FROM tasks ORDER BY number DESC LIMIT 1")
    assert tasks.owned_whole(host.db, row(host.db, "SELECT id FROM accounts")["id"], task["id"])["queue_position"]


def page(host: Host) -> None:
    account = row(host.db, "SELECT id FROM accounts")["id"]
    found = tasks.page(host.db, account, agent_id=None, status="pending", limit=2, after=db.ALL, ascending=True)
    assert len(list(tasks.each_whole(host.db, [id for _, id in found]))) == 2


@pytest.mark.parametrize("asked", [dispatched, looked_at, page], ids=["a dispatch", "a task", "a page"])
def test_a_pending_task_costs_the_same_however_many_are_pending(host: Host, asked):
    object.__setattr__(host.settings, "max_pending", 10**6)
    dispatched(host), dispatched(host)
    before = steps(host, asked)
    pending_copies(host)
    assert steps(host, asked) <= before + 12 * (MANY // 128 + 128)
