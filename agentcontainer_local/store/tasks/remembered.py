"""Facts about each task that a backend stores for the next server. Only the backend knows what they mean."""

import logging
import sqlite3
from typing import NamedTuple

from agentcontainer_local.store.db import Database, is_damage, row, rows

log = logging.getLogger(__name__)


class Slot(NamedTuple):
    id: str
    name: str
    uid: int | None


class Remembered:
    """The rows of the table `slots`."""

    def __init__(self, db: Database):
        self._db = db

    def slot_of(self, task_id: str) -> Slot | None:
        found = row(self._db, "SELECT id, name, uid FROM slots WHERE task_id = ?", (task_id,))
        return None if found is None else Slot(**found)

    def task_of(self, slot_id: str) -> str | None:
        found = row(self._db, "SELECT task_id FROM slots WHERE id = ?", (slot_id,))
        return None if found is None else str(found["task_id"])

    def put(self, task_id: str, slot_id: str, name: str, uid: int) -> None:
        """Raises LookupError for a task that is not in the store."""
        if row(self._db, "SELECT 1 FROM tasks WHERE id = ?", (task_id,)) is None:
            raise LookupError(f"no task {task_id}")
        self._db.conn.execute(
            "INSERT INTO slots (task_id, id, name, uid) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (task_id) DO UPDATE SET uid = excluded.uid",
            (task_id, slot_id, name, uid),
        )

    def forget(self, task_id: str) -> None:
        self._db.conn.execute("DELETE FROM slots WHERE task_id = ?", (task_id,))

    def forget_all(self) -> None:
        """Removes all rows. For a restored store: the rows describe containers of the store it was copied from."""
        self._db.conn.execute("DELETE FROM slots")

    def slots(self) -> list[Slot]:
        """All slots that can be read. A damaged database page must not keep the server from starting."""
        try:
            return [Slot(**found) for found in rows(self._db, "SELECT id, name, uid FROM slots")]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            log.error("the uids of slots were not reserved, because the database is damaged: %s", error)
            return []

    def open_run(self, task_id: str) -> str | None:
        """The id of the task's open run; None if it has none or does not exist."""
        run = row(self._db, "SELECT id FROM runs WHERE task_id = ? AND ended_at IS NULL", (task_id,))
        return None if run is None else str(run["id"])

    def last_run(self, task_id: str) -> str | None:
        """The id of the task's newest run, open or ended."""
        run = row(self._db, "SELECT id FROM runs WHERE task_id = ? ORDER BY number DESC LIMIT 1", (task_id,))
        return None if run is None else str(run["id"])
