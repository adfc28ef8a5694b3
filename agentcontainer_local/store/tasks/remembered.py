"""What a backend has the store remember of each task, for the next server: it alone knows what these facts mean."""

import logging
import sqlite3
from typing import NamedTuple

from agentcontainer_local.store.db import Database, is_damage, row, rows
from agentcontainer_local.store.tasks.rows import get

log = logging.getLogger(__name__)


class Facts(NamedTuple):
    uid: int | None
    slot: str | None


class Remembered:
    def __init__(self, db: Database):
        self._db = db

    def of(self, task_id: str) -> Facts:
        task = get(self._db, task_id)
        return Facts(task["uid"], task["slot"])

    def put_uid(self, task_id: str, uid: int) -> None:
        self._db.conn.execute("UPDATE tasks SET uid = ? WHERE id = ?", (uid, task_id))

    def forget(self, task_id: str) -> None:
        self._db.conn.execute("UPDATE tasks SET uid = NULL, slot = NULL WHERE id = ?", (task_id,))

    def forget_all(self) -> None:
        """Its tasks are those of another store, which has what the facts are about."""
        self._db.conn.execute("UPDATE tasks SET uid = NULL, slot = NULL")

    def uids(self) -> list[tuple[str, int]]:
        """As many as can be read: a damaged page must not keep the server from starting."""
        try:
            found = rows(self._db, "SELECT id, uid FROM tasks WHERE uid IS NOT NULL")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            log.error("the tasks' uids were not claimed, for the database is damaged: %s", error)
            return []
        return [(task["id"], task["uid"]) for task in found]

    def has_slots(self) -> bool:
        return row(self._db, "SELECT 1 FROM tasks WHERE slot IS NOT NULL") is not None
