"""A data directory in one file, taken while its server works, and brought back as a store of its own.

The database is copied by SQLite's online backup, so it is of one moment. Files are never changed, so they can follow
it. Of each task come its workspace and its agent's session, as they are when their turn comes, as long as they are
kept: a task that is brought back goes on from there, as after a reboot.
"""

import contextlib
import gzip
import io
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from agentcontainer_local.sandbox import backends
from agentcontainer_local.sandbox.backend import Archive, Exports
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import db, integrity, lock, tasks

DATABASE = "agentcontainer.db"
ARRIVING = "arriving.db"  # the database of a backup, while its store's id is still that of the original
END_BYTES = 1024  # zeros that a tar archive ends with, at least
Progress = Callable[[int, int], None]  # bytes so far, and in all
WITH_WORKSPACE = "SELECT id FROM tasks WHERE workspace_removed_at IS NULL ORDER BY number"
FILES = "SELECT id FROM files UNION SELECT storage_id FROM uploads WHERE storage_id IS NOT NULL"
PARTS = {"work": "workspace", "state": "session"}  # in the archive → as a backend calls it
NAME = re.compile(r"agentcontainer\.db|secret\.key|files/[a-z0-9_]+")
VOLUME = re.compile(r"volumes/agentcontainer-(tsk_[a-z0-9]+)-(work|state)")


@dataclass(frozen=True)
class Held:
    """What a backup holds: so many files, and workspace and session of so many tasks."""

    files: int
    tasks: int
    warnings: tuple[str, ...] = ()  # what it does not hold, though it should


def backup(settings: Settings, target: Path, progress: Progress) -> Held:
    """Writes `target`, whole or not at all; raises RuntimeError. It holds the key of the secrets: only ours to read."""
    if not (settings.data / DATABASE).exists():
        raise RuntimeError(f"There is no data directory at {settings.data}.")
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as folder:
        part = Path(folder, "part")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                held = _fill(archive, settings, Path(folder), progress)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    return held


def _fill(archive: tarfile.TarFile, settings: Settings, folder: Path, progress: Progress) -> Held:
    data, copy = settings.data, folder / DATABASE
    _copy_database(data / DATABASE, copy)
    paths = [data / "files" / row[0] for row in _rows(copy, FILES)]
    done, size = 0, copy.stat().st_size + sum(path.stat().st_size for path in paths if path.exists())

    def add(path: Path, name: str) -> None:
        nonlocal done, size
        archive.add(path, name)
        done += path.stat().st_size
        size = max(done, size)
        progress(done, size)

    add(copy, copy.name)
    if os.access(data / "secret.key", os.R_OK) and (data / "secret.key").is_file():
        archive.add(data / "secret.key", "secret.key")
    missing = []
    for path in paths:
        try:
            if not path.is_file():  # what a folder holds is in no backup
                raise FileNotFoundError(path)
            add(path, f"files/{path.name}")
        except (FileNotFoundError, PermissionError):
            missing.append(path.name)
    missing = [name for name in missing if _named_still(data / DATABASE, name)]  # not deleted since that moment
    with_workspace = set()
    with contextlib.closing(db.open(copy)) as store:
        exports = _exports(settings, store)
        for (task_id,) in _rows(copy, WITH_WORKSPACE):
            for kind, part in PARTS.items():
                exported = folder / kind
                if _exported(exports.export(task_id, part), exported):
                    add(exported, f"volumes/agentcontainer-{task_id}-{kind}")
                    with_workspace.add(task_id)
                exported.unlink(missing_ok=True)
    warnings = [f"{fault.detail}. {fault.fix}" for fault in integrity.lost_keys(data)]
    if missing:
        names = ", ".join(missing[:5])
        warnings.append(f"The bytes of {len(missing)} files are missing in {data / 'files'}, or can't be read: {names}")
    return Held(len(paths) - len(missing), len(with_workspace), tuple(warnings))


def _named_still(database: Path, name: str) -> bool:
    return bool(_rows(database, f"SELECT 1 FROM ({FILES}) WHERE id = ?", name))


def _exports(settings: Settings, store: db.Database) -> Exports:
    store_id = db.single(store, "SELECT id FROM store")["id"]
    return backends.exports(settings, store_id, tasks.Remembered(store))


def _exported(archive: Archive, target: Path) -> bool:
    """False where there is none: its task was not begun yet, or has ended since the database's moment."""
    try:
        with archive() as file, target.open("wb") as out:
            shutil.copyfileobj(file, out)
    except FileNotFoundError:
        return False
    return True


def _copy_database(source: Path, target: Path) -> None:
    """In one step: a copy in many would begin again each time that the server writes."""
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=60)) as live,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            found = copy.execute("PRAGMA integrity_check(5)").fetchall()
    except sqlite3.OperationalError as error:
        raise RuntimeError(f"{source} can't be copied: {db.why(error)}.") from None
    except sqlite3.DatabaseError as error:
        found = [(db.why(error),)]
    if found != [("ok",)]:
        fault = integrity.damaged(source, "; ".join(line for (line,) in found))
        raise RuntimeError(f"No backup was written. {fault.detail}. {fault.fix}")
    db.open(target).close()  # of an earlier version, perhaps


def restore(settings: Settings, source: Path, progress: Progress) -> Held:
    """Makes the data directory from a backup, whole or not at all; its server goes on with the tasks.

    It is another store than the one that was backed up, which may be at work beside it. Raises RuntimeError.
    """
    data = settings.data
    _require_empty(data)
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    try:
        with lock.held(data):
            _require_empty(data)  # a server may have been faster
            lock.mark_restoring(data)
            try:
                _undo(settings)  # of a restore that was killed
                with _Watched(source, progress) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
                    held = _unpack(archive, settings)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # what ended it is what is told
                    _undo(settings)
                _empty(data)
                lock.remove(data)
                raise
            lock.unmark_restoring(data)
            return held
    except BaseException as error:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, tarfile.TarError | EOFError | zlib.error | gzip.BadGzipFile | sqlite3.Error):
            raise RuntimeError(f"{source} is not a backup, or is damaged: {error}") from None
        raise


def _require_empty(data: Path) -> None:
    """But for what a restore that was killed has left."""
    if data.exists() and not lock.was_restoring(data) and any(path.name != "lock" for path in data.iterdir()):
        raise RuntimeError(f"{data} is not empty. Name a new directory with --data.")


def _undo(settings: Settings) -> None:
    """What a restore has made so far, where runs live and in the account's registry too."""
    database = settings.data / DATABASE
    with contextlib.suppress(sqlite3.Error):
        if database.exists():
            with contextlib.closing(db.open(database)) as store:
                _exports(settings, store).forget_all()
    _empty(settings.data)


def _empty(data: Path) -> None:
    for path in data.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in lock.NAMES:
            path.unlink()


class _Watched(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Progress):
        super().__init__(path)
        self._progress, self._size = progress, path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self._progress(self.tell(), self._size)
        return piece


def _unpack(archive: tarfile.TarFile, settings: Settings) -> Held:
    """Only what a backup holds, under names of ours: an archive may name anything. The database is its first part."""
    data = settings.data
    (data / "files").mkdir(mode=0o700)
    with_workspace = set()
    with contextlib.ExitStack() as opened:
        store = None
        for member in archive:
            if not member.isfile() or not (NAME.fullmatch(member.name) or VOLUME.fullmatch(member.name)):
                raise RuntimeError(f"Not a backup: it contains {member.name!r}.")
            content = archive.extractfile(member)
            assert content is not None, "it is a file"
            if found := VOLUME.fullmatch(member.name):
                if store is None:
                    raise RuntimeError("Not a backup: the database is not its first part.")
                _import(_exports(settings, store), found[1], PARTS[found[2]], content)
                with_workspace.add(found[1])
            elif member.name == DATABASE:
                _write(data / ARRIVING, content)
                store = opened.enter_context(contextlib.closing(_as_another_store(data / ARRIVING, data / DATABASE)))
            else:
                _write(data / member.name, content)
        if store is None:
            raise RuntimeError("Not a backup: it contains no database.")
        _require_end(archive)
    _sync(data / "files")
    return Held(len(list((data / "files").iterdir())), len(with_workspace))


def _import(exports: Exports, task_id: str, part: str, content: IO[bytes]) -> None:
    try:
        exports.import_(task_id, part, content)
    except LookupError:
        raise RuntimeError(f"The backup's database has no task {task_id}.") from None


def _require_end(archive: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end, and does not read on to the checksum of the whole."""
    archive.fileobj.seek(archive.offset)
    size = 0
    while piece := archive.fileobj.read(tarfile.RECORDSIZE):
        size += len(piece)
        if piece.strip(b"\0"):
            raise tarfile.ReadError("a part of it can't be read")
    if size < END_BYTES:
        raise tarfile.ReadError("its end is missing")


def _as_another_store(arriving: Path, database: Path) -> db.Database:
    """What its runs are called, and their uids, are not those of the store that was backed up.

    `database` is there only when it has an id of its own: `_undo` removes all of the store that it names.
    """
    with contextlib.closing(db.open(arriving)) as store, store.atomic():  # of an earlier version, perhaps
        store.conn.execute("UPDATE store SET id = ?", (db.new_id("str"),))
        tasks.Remembered(store).forget_all()
    arriving.rename(database)
    return db.open(database)


def _write(path: Path, content: IO[bytes]) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    for path in (folder, folder.parent):
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(opened)
        os.close(opened)


def _rows(database: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(database)) as store:
        return store.execute(sql, parameters).fetchall()
