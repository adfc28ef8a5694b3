"""The SQLite file: opening it, bringing it up to date, and reading rows from it."""

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
Columns = Mapping[str, Any]  # a row to read from, whole or in part
Parameters = Sequence[Any] | Mapping[str, Any]
ALL = -1  # as a LIMIT
new_id = RANDOM.new  # where there is no store
# Places in a list whose standard rows, which are nobody's, come first, upwards and downwards; 2^62 is beyond all rows.
STANDARD_UP = "CASE WHEN account_id IS NULL THEN number ELSE 4611686018427387904 + number END"
STANDARD_DOWN = "CASE WHEN account_id IS NULL THEN 4611686018427387904 - number ELSE number END"


# The log is copied back when it has so many pages, not 1000: each time a few commits wait.
LOG_PAGES = 4000
LOG_BYTES = LOG_PAGES * (4096 + 24)

BRIEF_MS = 50  # for a moment everything may wait: most locks are held for less
WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.05

T = TypeVar("T")

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # json.dumps would make it anew each time


class Database(sqlite_utils.Database):
    def __init__(self, connection: sqlite3.Connection, durable: bool = True, ids: Ids = RANDOM):
        super().__init__(connection, execute_plugins=False)  # to look for plugins takes as long as to open it
        self._durable = durable
        self.ids = ids
        self.names: dict[str, list[str]] = {}  # of the columns that a statement reads
        self._when_kept: list[Callable[[], None]] = []
        self._touched: list[str] = []  # by the transaction at hand
        self._subscribers: list[Callable[..., None]] = []
        self._watchers = 0
        self._patience_ms: int | None = None  # for another program's write lock; None: what `open` has set
        self._held_elsewhere = False
        self._log: Log | None = None
        self._syncs_later = False  # whoever began the transaction at hand waits for the disk when it is over

    def serve(self) -> None:
        """From here on, neither the disk nor another program that holds the write lock makes anybody wait but who is
        `waited` for."""
        self._patience_ms = BRIEF_MS
        self._set_patience(BRIEF_MS)
        if self._durable:
            self._log = Log(f"{path(self)}-wal")

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
        super().close()

    async def waited(self, act: Callable[[], T], seconds: float = WAIT_SECONDS) -> T:
        """What `act` answers, as soon as no other program holds the write lock and what it wrote is on disk.

        Others are served meanwhile, and see what it wrote; those that wrote in the same moment share one sync. After so
        many seconds raises OperationalError, as `act` does; nothing of it was done then. Raises NotSynced where the
        disk fails.
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
        """Also the log that has to be synced, if that is so."""
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
        """After a failure each commit syncs for itself again, and what is in the log is copied to where it is safe."""
        try:
            await log.synced()
        except OSError:
            with suppress(sqlite3.Error):
                self.conn.execute("PRAGMA wal_checkpoint").fetchall()
            raise

    def _begin(self) -> None:
        """Once it was found to be held, looking again takes no time."""
        try:
            self.conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if is_busy(error) and self._patience_ms is not None and not self._held_elsewhere:
                self._held_elsewhere = True
                self._set_patience(0)
            raise
        if self._held_elsewhere:
            self._held_elsewhere = False
            self._set_patience(self._patience_ms or 0)

    def sync(self, power_loss: bool = True) -> None:
        """From here on, whether a commit that returned survives a loss of power."""
        if self._durable:
            self.conn.execute(f"PRAGMA synchronous={'FULL' if power_loss else 'NORMAL'}")

    def _set_patience(self, ms: int) -> None:
        self.conn.execute(f"PRAGMA busy_timeout={ms:d}").fetchall()

    @contextmanager
    def atomic(self, survives_power_loss: bool = True) -> Iterator["Database"]:
        """A transaction; within another one, a part that can fail by itself.

        What it wrote survives kill -9, and a loss of power too unless that is not asked for, or its caller is `waited`
        for, who syncs the log when it is over.

        It begins as a writer. The directory's lock keeps other servers out, and who is `reading` never writes; but a
        tool of the owner's, such as the sqlite3 shell, may, and one that has read already is refused at once, and not
        made to wait, where another wrote in between. All parts have one name, so that these statements too are prepared
        once.
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
            elif self.conn.in_transaction:  # a full disk may have ended all of it
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
        """Does this when the transaction at hand is committed, all of it; else never."""
        self._when_kept.append(act)

    def touched(self, task_id: str) -> None:
        """Rows of this task were written: subscribers hear of it once they are committed, and never if they are not."""
        if self.conn.in_transaction:
            self._touched.append(task_id)
        else:
            self._tell(task_id)

    def subscribe(self, act: Callable[..., None]) -> None:
        """`act` is called with the ids of the tasks whose rows have changed, once for each commit."""
        self._subscribers.append(act)

    def _tell(self, *task_ids: str) -> None:
        for act in self._subscribers:
            act(*task_ids)

    def at_each_write(self, tables: Iterable[str], act: Callable[..., None], column: str | None = None) -> None:
        """Does this whenever this connection changes a row of one of these tables, whatever becomes of the change.

        `act` is given what the row has in `column`, if one is named.
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
    """Opens (or makes) the database at `path` and runs the migrations that it has not seen.

    WAL with synchronous=FULL: a commit that returned survives kill -9 and power loss. Where it is not `durable`, it
    survives kill -9 only, and takes no time to reach the disk.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # the log that SQLite makes beside it gets its mode
    connection = sqlite3.connect(path, isolation_level=None, timeout=10, cached_statements=1000)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=10000;"
        f"PRAGMA wal_autocheckpoint={LOG_PAGES:d}; PRAGMA synchronous={'FULL' if durable else 'OFF'};"
    )
    db = Database(connection, durable, ids)
    _migrate(db)
    return db


def lengthen_log(db: Database) -> None:
    """Gives the log its full length at once: a commit that makes its file longer waits for the file system's own
    journal too (measured: twice as long).

    No frame can be written meanwhile, and what lies behind the last valid one means nothing: sqlite.org/fileformat2.
    """
    with db.atomic(), suppress(OSError), builtins.open(f"{path(db)}-wal", "ab") as log:
        log.write(bytes(max(0, LOG_BYTES - log.tell())))
        log.flush()
        os.fsync(log.fileno())


def path(db: Database) -> str:
    return str(single(db, "PRAGMA database_list")["file"])


@contextmanager
def reading(path: str) -> Iterator[Database]:
    """The store at one moment, for another thread: what takes long holds nobody up."""
    store = Database(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None))
    try:
        store.conn.execute("BEGIN")
        yield store
    finally:
        store.close()


def _migrate(db: Database) -> None:
    """Each section of migrations.sql in a transaction of its own; a newer database than the program is refused."""
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
    """Splits at lines `-- migration N`."""
    return re.split(r"^-- migration \d+.*$", text, flags=re.MULTILINE)[1:]


def _statements(text: str) -> list[str]:
    """Whole ones: executescript would commit half-way."""
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
    """In words, what SQLite could not do, with its own words."""
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    return f"{WORDS[name]} ({error})" if name in WORDS else str(error)


class Damaged(sqlite3.DatabaseError):
    sqlite_errorcode, sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"


def check(db: Database, *tables: str) -> None:
    """Raises Damaged where a page of one of these is."""
    for table in tables:
        found = [line for (line,) in db.conn.execute(f"PRAGMA quick_check({table})")]
        if found != ["ok"]:
            raise Damaged("; ".join(found[:3]))


def is_busy(error: sqlite3.Error) -> bool:
    """Another program holds the write lock; nothing was done."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@overload
def row(db: Database, sql: str, parameters: Parameters = ()) -> Row | None: ...
@overload
def row(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> T | None: ...
def row(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> Any:
    """The first row, or None. `of`: what it holds, one of `store.rows`, for the type checker."""
    cursor = db.conn.execute(sql, parameters)
    values = cursor.fetchone()
    return None if values is None else dict(zip(_names(db, sql, cursor), values, strict=True))


@overload
def single(db: Database, sql: str, parameters: Parameters = ()) -> Row: ...
@overload
def single(db: Database, sql: str, parameters: Parameters = (), *, of: type[T]) -> T: ...
def single(db: Database, sql: str, parameters: Parameters = (), *, of: type[Any] | None = None) -> Any:
    """The row of a query that always finds one; raises LookupError where there is none."""
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
    """Row by row, for who does not want all of them."""
    cursor = db.conn.execute(sql, parameters)
    names = _names(db, sql, cursor)
    for values in cursor:
        yield dict(zip(names, values, strict=True))


def _names(db: Database, sql: str, cursor: sqlite3.Cursor) -> list[str]:
    """Once for each statement: a description is long to read."""
    names = db.names.get(sql)
    if names is None:
        names = db.names[sql] = [column[0] for column in cursor.description]
    return names


def insert(db: Database, sql: str, parameters: Parameters = ()) -> int:
    """Runs an INSERT of one row; answers its number."""
    number = db.conn.execute(sql, parameters).lastrowid
    assert number is not None, "an INSERT of a row has one"
    return number


@functools.lru_cache(64)  # one moment is written into several rows
def iso(at: datetime) -> str:
    """UTC with milliseconds and Z, as on the wire; sorts as text in the order of time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    return datetime.fromisoformat(text)


def dumps(value: Any) -> str:
    return _JSON.encode(value)
