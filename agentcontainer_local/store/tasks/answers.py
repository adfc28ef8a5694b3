"""The answers of tasks that have ended, kept as JSON until a row changes that they are made of."""

from collections.abc import Iterable

from agentcontainer_local.store.db import Database

MAX_BYTES = 2 * 1024**2  # a page of a thousand common tasks
ENTRY_BYTES = 300  # what Python needs for an entry, beside the answer itself


class Answers:
    """By task; those that were asked for longest ago go first."""

    def __init__(self) -> None:
        self._watched: Database | None = None
        self._kept: dict[str, tuple[str, bytes]] = {}  # task: its account, and its answer
        self._bytes = 0

    def get(self, db: Database, account_id: str, task_id: str) -> bytes | None:
        return self.of(db, account_id, [task_id]).get(task_id)

    def of(self, db: Database, account_id: str, task_ids: Iterable[str]) -> dict[str, bytes]:
        """Those that are kept, by their tasks' ids."""
        self._watch(db)
        found = {}
        for id in task_ids:
            if (kept := self._kept.pop(id, None)) is not None:
                self._kept[id] = kept
                if kept[0] == account_id:
                    found[id] = kept[1]
        return found

    def keep(self, db: Database, account_id: str, task_id: str, answer: bytes) -> None:
        """An answer that was made within a transaction may be of rows that are taken back: it is not kept."""
        self._watch(db)
        if db.conn.in_transaction:
            return
        self._forget(task_id)
        self._kept[task_id] = account_id, answer
        self._bytes += len(answer) + ENTRY_BYTES
        while self._bytes > MAX_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, task_id: str) -> None:
        if (kept := self._kept.pop(task_id, None)) is not None:
            self._bytes -= len(kept[1]) + ENTRY_BYTES

    def _clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def _watch(self, db: Database) -> None:
        """The sums in `tasks` and `usage` change with every model call, so calls need not be watched."""
        if self._watched is not db:
            self._watched = db
            self._clear()
            db.at_each_write(("tasks",), self._forget, "id")
            db.at_each_write(("runs", "usage"), self._forget, "task_id")
            db.at_each_write(("agents", "container_versions"), self._clear)
