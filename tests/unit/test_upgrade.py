"""A data directory of an earlier version: its tasks keep their containers, volumes and uids."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.podman.names import name_of, volumes_of
from agentcontainer_local.store import db, tasks

TASK = (
    "INSERT INTO tasks (number, id, account_id, agent_id, agent_version_id, container_version_id, mode, status, title,"
    " instructions, provider, model, internet_access, max_runtime_seconds, output_policy, runtime_region, created_at,"
    " completed_at, workspace_removed_at)"
    " VALUES (?, ?, 'a', 'a', 'v', 'c', 'autonomous', ?, 't', 'i', 'anthropic', 'scripted', 0, 60, '{}', 'any', 'now',"
    " ?, ?)"
)


def earlier_store(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        for statements in map(db._statements, db._parts(db._migrations())[:version]):
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
    with contextlib.closing(db.open(tmp_path / "agentcontainer.db")) as store:
        slots = {task_id: tasks.Remembered(store).slot_of(task_id) for task_id in ("tsk_asleep", "tsk_late")}
        assert volumes_of(slots["tsk_asleep"].name) == (
            "agentcontainer-tsk_asleep-work",
            "agentcontainer-tsk_asleep-state",
        )
        assert {task_id: (slot.id, slot.uid) for task_id, slot in slots.items()} == {
            "tsk_asleep": ("tsk_asleep", 20_007),
            "tsk_late": ("tsk_late", None),
        }
        assert len(tasks.Remembered(store).slots()) == 2  # the others have nothing: one has not begun, and one is over


def test_tasks_that_began_before_there_were_slots_keep_what_was_named_after_them(tmp_path: Path):
    earlier_store(tmp_path / "agentcontainer.db", 17)
    with contextlib.closing(sqlite3.connect(tmp_path / "agentcontainer.db")) as earlier:
        earlier.execute("UPDATE tasks SET uid = 20500 WHERE id = 'tsk_asleep'")  # as the version before did
        earlier.execute("UPDATE tasks SET uid = 20501, slot = 'agentcontainer-tsk_late' WHERE id = 'tsk_late'")
        earlier.commit()
    with contextlib.closing(db.open(tmp_path / "agentcontainer.db")) as store:
        remembered = tasks.Remembered(store)
        assert remembered.slot_of("tsk_asleep") == ("tsk_asleep", name_of("str_old", "tsk_asleep"), 20_500)
        assert remembered.slot_of("tsk_late") == ("tsk_late", "agentcontainer-tsk_late", 20_501)
        assert remembered.slot_of("tsk_waiting") is None and remembered.slot_of("tsk_over") is None
        assert remembered.task_of("tsk_asleep") == "tsk_asleep"


def test_a_slot_is_one_tasks_and_a_task_has_one_slot(tmp_path: Path):
    earlier_store(tmp_path / "agentcontainer.db", 17)
    with contextlib.closing(db.open(tmp_path / "agentcontainer.db")) as store:
        remembered = tasks.Remembered(store)
        remembered.put("tsk_asleep", "slt_1", "agentcontainer-str_old-slt_1", 20_001)
        with pytest.raises(sqlite3.IntegrityError):
            remembered.put("tsk_late", "slt_1", "agentcontainer-str_old-slt_1", 20_002)
        with pytest.raises(LookupError):
            remembered.put("tsk_gone", "slt_2", "agentcontainer-str_old-slt_2", 20_003)
        assert remembered.task_of("slt_1") == "tsk_asleep" and remembered.slot_of("tsk_late") is None
        remembered.forget("tsk_asleep")
        assert remembered.slots() == []
