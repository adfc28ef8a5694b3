"""A cache of the JSON answers of ended tasks. An entry is dropped when a row changes that its answer was made from."""

from collections.abc import Iterable

from agentcontainer_local.store.db import Database

MAX_BYTES = 2 * 1024**2  # enough for a page of a thousand typical tasks
ENTRY_BYTES = 300  # Python's own overhead for an entry, without the answer itself


class Answers:
    """The cache, by task id. The least recently used entries are evicted first."""

    def __init__(self) -> None:
        self._watched: Database | None = None
        self._version: object = None  # of the database, as other programs have changed it
        self._kept: dict[str, tuple[str, bytes]] = {}  # task id: (account id, answer)
        self._bytes = 0

    def get(self, db: Database, account_id: str, task_id: str) -> bytes | None:
        return self.of(db, account_id, [task_id]).get(task_id)

    def of(self, db: Database, account_id: str, task_ids: Iterable[str]) -> dict[str, bytes]:
        """The cached answers of those of these tasks that belong to the account, by task id."""
        self._watch(db)
        found = {}
        for id in task_ids:
            if (kept := self._kept.pop(id, None)) is not None:
                self._kept[id] = kept
                if kept[0] == account_id:
                    found[id] = kept[1]
        return found

    def keep(self, db: Database, account_id: str, task_id: str, answer: bytes) -> None:
        """Caches an answer. Inside a transaction it does nothing: a rollback would make the answer wrong. Nor does it
        where another program has written since the cache was asked: the answer may be of the rows before."""
        if self._watch(db) or db.conn.in_transaction:
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

    def _watch(self, db: Database) -> bool:
        """Drops entries when rows change. Returns whether another program has changed the database since the last call.

        The triggers do not see changes by other programs, such as the owner's sqlite3 shell; then all entries are
        dropped. `model_calls` is not watched: each call changes the sums in `tasks` and `usage` too.
        """
        before, self._version = self._version, db.conn.execute("PRAGMA data_version").fetchone()
        if self._watched is not db:
            self._watched = db
            self._clear()
            db.at_each_write(("tasks",), self._forget, "id")
            db.at_each_write(("runs", "usage"), self._forget, "task_id")
            db.at_each_write(("agents", "container_versions"), self._clear)
        elif self._version != before:
            self._clear()
            return True
        return False
