"""The SQLite database: opens and migrates it, runs transactions, and reads rows."""

import asyncio
import builtins
import functools
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, overload

import sqlite_utils

from agentcontainer_local.process import resources
from agentcontainer_local.store.ids import RANDOM, Ids
from agentcontainer_local.store.log import Log

Row = dict[str, Any]
Columns = Mapping[str, Any]  # a row to read from, complete or not
Parameters = Sequence[Any] | Mapping[str, Any]
ALL = -1  # for LIMIT: no limit
new_id = RANDOM.new  # for callers without a store
# Sort keys for lists in which standard rows (without an account) come first, in both directions. 2^62 exceeds all
# numbers.
STANDARD_UP = "CASE WHEN account_id IS NULL THEN number ELSE 4611686018427387904 + number END"
STANDARD_DOWN = "CASE WHEN account_id IS NULL THEN 4611686018427387904 - number ELSE number END"


# Pages in the write-ahead log before a checkpoint. SQLite's default is 1000; each checkpoint delays a few commits.
LOG_PAGES = 4000
LOG_BYTES = LOG_PAGES * (4096 + 24)

BRIEF_MS = 50  # maximum wait that blocks the event loop; most locks are held for a shorter time
WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.05

T = TypeVar("T")

# created once, because json.dumps would create it at each call
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Database(sqlite_utils.Database):
    def __init__(self, connection: sqlite3.Connection, durable: bool = True, ids: Ids = RANDOM):
        # searching for plugins takes as long as opening the database
        super().__init__(connection, execute_plugins=False)
        self._durable = durable
        self.ids = ids
        self.names: dict[str, list[str]] = {}  # column names, by statement
        self._when_kept: list[Callable[[], None]] = []
        self._touched: list[str] = []  # tasks that the present transaction has changed
        self._subscribers: list[Callable[..., None]] = []
        self._watchers = 0
        self._busy_timeout_ms: int | None = None  # for another program's write lock; None: as set by `open`
        self._locked_by_another = False
        self._log: Log | None = None
        self._syncs_later = False  # the caller of the present transaction syncs the log afterwards

    def serve(self) -> None:
        """From now on, only callers of `waited` wait for the disk or for another program's write lock."""
        self._busy_timeout_ms = BRIEF_MS
        self._set_busy_timeout(BRIEF_MS)
        if self._durable:
            self._log = Log(f"{path(self)}-wal")

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        super().close()

    async def waited(self, act: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
        """Runs `act` when no other program holds the write lock, and returns its result once its changes are on disk.

        Meanwhile other requests are served, and see the changes. Calls of `waited` at the same time share one sync.
        Raises OperationalError if the lock is not free after `seconds`; then nothing was changed. Raises NotSynced if
        the disk fails.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                answered, wrote = self._act(act)
                break
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)
        if wrote is not None:
            await self._synced(wrote)
        return answered

    def _act(self, act: Callable[[], T]) -> tuple[T, Log | None]:
        """Runs `act`. Returns its result, and the log if it has to be synced."""
        log = self._log
        if log is None or log.failed:
            return act(), None
        before, self._syncs_later = log.transactions, True
        try:
            answered = act()
        finally:
            self._syncs_later = False
        return answered, log if log.transactions > before else None

    async def _synced(self, log: Log) -> None:
        """Waits for the sync. If it fails, copies the log into the database; then each commit syncs by itself."""
        try:
            await log.synced()
        except OSError:
            with suppress(sqlite3.Error):
                self._restart_log(log)
            raise

    def _restart_log(self, log: Log) -> None:
        """Copies the log into the database, so that the next commit starts the log from its beginning.

        Frames that follow frames that never reached the disk would be lost at a loss of power. Raises OperationalError,
        also while another program reads from the log.
        """
        busy, *_ = self.conn.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        if busy:
            raise Busy("the log could not be synced, and another program reads from it")
        log.restarted = True

    def _begin(self) -> None:
        """Begins a transaction. While another program holds the lock, further attempts do not wait."""
        if self._log is not None and self._log.failed and not self._log.restarted:
            self._restart_log(self._log)
        try:
            self.conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if is_busy(error) and self._busy_timeout_ms is not None and not self._locked_by_another:
                self._locked_by_another = True
                self._set_busy_timeout(0)
            raise
        if self._locked_by_another:
            self._locked_by_another = False
            self._set_busy_timeout(self._busy_timeout_ms or 0)

    def sync(self, power_loss: bool = True) -> None:
        """Sets whether commits survive a loss of power from now on."""
        if self._durable:
            self.conn.execute(f"PRAGMA synchronous={'FULL' if power_loss else 'NORMAL'}")

    def _set_busy_timeout(self, ms: int) -> None:
        self.conn.execute(f"PRAGMA busy_timeout={ms:d}").fetchall()

    @contextmanager
    def atomic(self, survives_power_loss: bool = True) -> Iterator["Database"]:
        """A transaction. Inside another one: a savepoint, which can fail alone.

        The changes survive kill -9. They also survive a loss of power, unless `survives_power_loss` is false, or the
        caller uses `waited`, which syncs the log afterwards.

        The transaction takes the write lock at its beginning. Other servers are kept out by the data directory's lock,
        and `reading` never writes. But another program, such as the sqlite3 shell, may write; a transaction that began
        with a read would then fail at its first write, without waiting. All savepoints have the same name, so that
        SQLite prepares these statements once.
        """
        synced = survives_power_loss and not self._syncs_later
        if synced or self.conn.in_transaction:
            with self._transaction():
                yield self
            return
        self.sync(power_loss=False)
        try:
            with self._transaction():
                yield self
        finally:
            self.sync()
        if survives_power_loss and self._log is not None:
            self._log.written()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        part, before, touched = self.conn.in_transaction, len(self._when_kept), len(self._touched)
        if part:
            self.conn.execute("SAVEPOINT part")
        else:
            self._begin()
        try:
            yield
            self.conn.execute("RELEASE part" if part else "COMMIT")
        except BaseException:
            del self._when_kept[before:], self._touched[touched:]
            if not part:
                self.conn.rollback()
            elif self.conn.in_transaction:  # a full disk may have ended the whole transaction
                self.conn.execute("ROLLBACK TO part")
                self.conn.execute("RELEASE part")
            raise
        if not part:
            kept, self._when_kept = self._when_kept, []
            for act in kept:
                act()
            if self._touched:
                ids, self._touched = dict.fromkeys(self._touched), []
                self._tell(*ids)

    def when_kept(self, act: Callable[[], None]) -> None:
        """Calls `act` after the present transaction has been committed. Never, if it is rolled back."""
        self._when_kept.append(act)

    def touched(self, task_id: str) -> None:
        """Marks a task as changed. Subscribers are called after the commit, and not after a rollback."""
        if self.conn.in_transaction:
            self._touched.append(task_id)
        else:
            self._tell(task_id)

    def subscribe(self, act: Callable[..., None]) -> None:
        """Registers `act`, which is called after each commit with the ids of the changed tasks."""
        self._subscribers.append(act)

    def _tell(self, *task_ids: str) -> None:
        for act in self._subscribers:
            act(*task_ids)

    def at_each_write(self, tables: Iterable[str], act: Callable[..., None], column: str | None = None) -> None:
        """Calls `act` at each change of a row in these tables by this connection, even if the change is rolled back
        later.

        If `column` is given, `act` gets the row's value in this column.
        """
        self._watchers += 1
        name = f"watcher_{self._watchers:d}"
        self.conn.create_function(name, 0 if column is None else 1, act)
        for table in tables:
            for verb, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
                trigger = f"CREATE TEMP TRIGGER {name}_{verb}_{table} AFTER {verb} ON {table}"
                value = "" if column is None else f"{row}.{column}"
                self.conn.execute(f"{trigger} BEGIN SELECT {name}({value}); END")


def open(path: Path, durable: bool = True, ids: Ids = RANDOM) -> Database:
    """Opens the database at `path`, creating it if needed, and runs the missing migrations.

    It uses WAL with synchronous=FULL: commits survive kill -9 and a loss of power. If not `durable`, commits only
    survive kill -9, and do not wait for the disk.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # the log that SQLite creates beside it gets the same mode
    connection = sqlite3.connect(path, isolation_level=None, timeout=10, cached_statements=1000)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=10000;"
        f"PRAGMA wal_autocheckpoint={LOG_PAGES:d}; PRAGMA synchronous={'FULL' if durable else 'OFF'};"
    )
    db = Database(connection, durable, ids)
    _migrate(db)
    return db


def lengthen_log(db: Database) -> None:
    """Gives the log's file its full length. A commit that extends the file also waits for the file system's journal,
    which takes twice as long (measured).

    The transaction keeps others from writing. Bytes after the last valid frame are ignored: sqlite.org/fileformat2.
    """
    with db.atomic(), suppress(OSError), builtins.open(f"{path(db)}-wal", "ab") as log:
        log.write(bytes(max(0, LOG_BYTES - log.tell())))
        log.flush()
        os.fsync(log.fileno())


def path(db: Database) -> str:
    return str(single(db, "PRAGMA database_list")["file"])


@contextmanager
def reading(path: str) -> Iterator[Database]:
    """A read-only snapshot of the database, for another thread. Long reads do not block anybody."""
    store = Database(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None))
    try:
        store.conn.execute("BEGIN")
        yield store
    finally:
        store.close()


def _migrate(db: Database) -> None:
    """Runs the missing migrations, each in its own transaction. Raises RuntimeError for a newer database."""
    parts = _parts(_migrations())
    done = single(db, "PRAGMA user_version")["user_version"]
    if done > len(parts):
        raise RuntimeError(
            f"The database has version {done}, and this program supports up to {len(parts)}. Use a newer program."
        )
    for number, part in list(enumerate(parts, 1))[done:]:
        with db.atomic():
            for statement in _statements(part):
                db.conn.execute(statement)
            db.conn.execute(f"PRAGMA user_version = {number:d}")


def _migrations() -> str:
    return resources.path_of("migrations.sql").read_text()


def _parts(text: str) -> list[str]:
    """Splits the text at lines `-- migration N`."""
    return re.split(r"^-- migration \d+.*$", text, flags=re.MULTILINE)[1:]


def _statements(text: str) -> list[str]:
    """Splits the text into statements, because executescript would commit in the middle."""
    statements, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements


WORDS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the data directory can't be written",
    "SQLITE_BUSY": "another program has locked the database",
    "SQLITE_CORRUPT": "one of its pages is damaged",
    "SQLITE_NOTADB": "its first page is damaged",
    "SQLITE_IOERR": "the disk fails",
    "SQLITE_CANTOPEN": "it can't be opened",
}


def why(error: sqlite3.Error) -> str:
    """What SQLite could not do, in plain words, with its own message."""
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return f"{WORDS[name]} ({error})" if name in WORDS else str(error)


class Damaged(sqlite3.DatabaseError):
    sqlite_errorcode, sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"


class Busy(sqlite3.OperationalError):
    sqlite_errorcode, sqlite_errorname = sqlite3.SQLITE_BUSY, "SQLITE_BUSY"


def check(db: Database, *tables: str) -> None:
    """Raises Damaged if one of these tables has a damaged page."""
    for table in tables:
        found = [line for (line,) in db.conn.execute(f"PRAGMA quick_check({table})")]
        if found != ["ok"]:
            raise Damaged("; ".join(found[:3]))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another program held the write lock. Then nothing was done."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@overload
def row(db: Database, sql: str, parameters: Parameters = ()) -> Row | None: ...
@overload
def row(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> T | None: ...
def row(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> Any:
    """The first row, or None. `of`: the row's type, from `store.rows`, for the type checker."""
    cursor = db.conn.execute(sql, parameters)
    values = cursor.fetchone()
    return None if values is None else dict(zip(_names(db, sql, cursor), values, strict=True))


@overload
def single(db: Database, sql: str, parameters: Parameters = ()) -> Row: ...
@overload
def single(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> T: ...
def single(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> Any:
    """The first row. Raises LookupError if there is none."""
    found = row(db, sql, parameters)
    if found is None:
        raise LookupError(f"no row: {sql}")
    return found


@overload
def rows(db: Database, sql: str, parameters: Parameters = ()) -> list[Row]: ...
@overload
def rows(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> list[T]: ...
def rows(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> list[Any]:
    return list(each(db, sql, parameters))


@overload
def each(db: Database, sql: str, parameters: Parameters = ()) -> Iterator[Row]: ...
@overload
def each(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> Iterator[T]: ...
def each(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> Iterator[Any]:
    """The rows, read one by one."""
    cursor = db.conn.execute(sql, parameters)
    names = _names(db, sql, cursor)
    for values in cursor:
        yield dict(zip(names, values, strict=True))


def _names(db: Database, sql: str, cursor: sqlite3.Cursor) -> list[str]:
    """The column names of a statement. They are cached, because reading a description is slow."""
    names = db.names.get(sql)
    if names is None:
        names = db.names[sql] = [column[0] for column in cursor.description]
    return names


def insert(db: Database, sql: str, parameters: Parameters = ()) -> int:
    """Runs an INSERT of one row and returns its number."""
    number = db.conn.execute(sql, parameters).lastrowid
    assert number is not None, "an INSERT of a row has one"
    return number


@functools.lru_cache(64)  # one moment is often written into several rows
def iso(at: datetime) -> str:
    """UTC with milliseconds and Z, as in the API. Sorts as text in the order of time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    return datetime.fromisoformat(text)


def dumps(value: Any) -> str:
    return _JSON.encode(value)
