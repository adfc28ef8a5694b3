"""A data directory of an earlier version: its tasks keep their containers, volumes and uids."""

import contextlib
import sqlite3
from pathlib import Path

from agentcontainer_local.sandbox.podman.names import slot_of, volumes_of
from agentcontainer_local.store import db

TASK = (
    "INSERT INTO tasks (number, id, account_id, agent_id, agent_version_id, container_version_id, mode, status, title,"
    " instructions, provider, model, internet_access, max_runtime_seconds, output_policy, runtime_region, created_at,"
    " completed_at, workspace_removed_at)"
    " VALUES (?, ?, 'a', 'a', 'v', 'c', 'autonomous', ?, 't', 'i', 'anthropic', 'scripted', 0, 60, '{}', 'any', 'now',"
    " ?, ?)"
)


def earlier_store(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        for statements in db._sections(db._migrations())[:version]:
            for statement in statements:
                store.execute(statement)
        store.execute(f"PRAGMA user_version = {version:d}")
        store.execute("PRAGMA foreign_keys = OFF")
        store.execute("INSERT INTO store VALUES ('str_old', 'now')")
        for number, id, status, completed, removed in (
            (7, "tsk_asleep", "hibernating", None, None),
            (40_007, "tsk_late", "hibernating", None, None),
            (8, "tsk_waiting", "pending", None, None),
            (9, "tsk_over", "finished", "now", "now"),
        ):
            store.execute(TASK, (number, id, status, completed, removed))
            if status != "pending":
                store.execute("INSERT INTO runs (id, task_id, created_at) VALUES (?, ?, 'now')", (f"run_{number}", id))


def test_tasks_of_an_earlier_version_keep_the_names_and_uids_of_their_volumes(tmp_path: Path):
    earlier_store(tmp_path / "agentcontainer.db", 3)
    store = db.open(tmp_path / "agentcontainer.db")
    tasks = {task["id"]: task for task in db.rows(store, "SELECT id, uid, slot FROM tasks")}
    names = {id: volumes_of(slot_of("str_old", id, task["slot"])) for id, task in tasks.items()}
    assert names["tsk_asleep"] == ("agentcontainer-tsk_asleep-work", "agentcontainer-tsk_asleep-state")
    assert names["tsk_waiting"][0] == "agentcontainer-str_old-tsk_waiting-work"
    assert {id: task["uid"] for id, task in tasks.items()} == {
        "tsk_asleep": 20_007,
        "tsk_late": None,
        "tsk_waiting": None,
        "tsk_over": None,
    }
    assert tasks["tsk_over"]["slot"] is None
    store.close()
