"""Backups of a data directory as one file, made while its server runs, and restored as a separate store.

SQLite's online backup copies the database as of one moment. Files never change, so they are copied afterwards. Of each
task, the workspace and the agent's session are included, if they are kept, as they are when they are copied. A restored
task continues as after a reboot.
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
ARRIVING = "arriving.db"  # the database during a restore, while it still has the original's store id
END_BYTES = 1024  # minimum of zeros at the end of a tar archive
Progress = Callable[[int, int], None]  # called with the bytes so far, and in total
WITH_WORKSPACE = "SELECT id FROM tasks WHERE workspace_removed_at IS NULL ORDER BY number"
FILES = "SELECT id FROM files UNION SELECT storage_id FROM uploads WHERE storage_id IS NOT NULL"
PARTS = {"work": "workspace", "state": "session"}  # name in the archive → name of the backend's part
NAME = re.compile(r"agentcontainer\.db|secret\.key|files/[a-z0-9_]+")
VOLUME = re.compile(r"volumes/agentcontainer-(tsk_[a-z0-9]+)-(work|state)")


@dataclass(frozen=True)
class Held:
    """The content of a backup: the number of files, and of tasks with workspace and session."""

    files: int
    tasks: int
    warnings: tuple[str, ...] = ()  # missing content


def backup(settings: Settings, target: Path, progress: Progress) -> Held:
    """Writes `target` atomically, readable only for this account, because it contains the secret key. Raises
    RuntimeError."""
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
            if not path.is_file():  # directories are not included
                raise FileNotFoundError(path)
            add(path, f"files/{path.name}")
        except (FileNotFoundError, PermissionError):
            missing.append(path.name)
    missing = [name for name in missing if _named_still(data / DATABASE, name)]  # without files that were deleted since
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
    """Writes an export to `target`. False if there is none: the task has not started, or has ended since."""
    try:
        with archive() as file, target.open("wb") as out:
            shutil.copyfileobj(file, out)
    except FileNotFoundError:
        return False
    return True


def _copy_database(source: Path, target: Path) -> None:
    """Copies the database in one step. A copy in several steps would restart at each write of the server."""
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
    db.open(target).close()  # it may be of an earlier version


def restore(settings: Settings, source: Path, progress: Progress) -> Held:
    """Creates the data directory from a backup, completely or not at all. Its server continues the tasks.

    The result is a separate store; the original may be in use at the same time. Raises RuntimeError.
    """
    data = settings.data
    _require_empty(data)
    missing = [folder for folder in (data, *data.parents) if not folder.exists()]
    try:
        with lock.held(data):
            _require_empty(data)  # a server may have started meanwhile
            lock.mark_restoring(data)
            try:
                _undo(settings)  # removes what an interrupted restore left
                with _Watched(source, progress) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
                    held = _unpack(archive, settings)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # the first error is raised
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
    """Raises RuntimeError unless the directory is empty, or was left by an interrupted restore."""
    if data.exists() and not lock.was_restoring(data) and any(path.name != "lock" for path in data.iterdir()):
        raise RuntimeError(f"{data} is not empty. Name a new directory with --data.")


def _undo(settings: Settings) -> None:
    """Removes everything that the restore has created, including volumes and registry entries."""
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
    """A file that reports how far it has been read."""

    def __init__(self, path: Path, progress: Progress):
        super().__init__(path)
        self._progress, self._size = progress, path.stat().st_size

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self._progress(self.tell(), self._size)
        return piece


def _unpack(archive: tarfile.TarFile, settings: Settings) -> Held:
    """Unpacks the archive. Accepts only a backup's files, because an archive can name anything. The database comes
    first."""
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
    """Checks the end of the archive. tarfile takes a damaged header for the end, and would skip the checksum."""
    archive.fileobj.seek(archive.offset)
    size = 0
    while piece := archive.fileobj.read(tarfile.RECORDSIZE):
        size += len(piece)
        if piece.strip(b"\0"):
            raise tarfile.ReadError("a part of it can't be read")
    if size < END_BYTES:
        raise tarfile.ReadError("its end is missing")


def _as_another_store(arriving: Path, database: Path) -> db.Database:
    """Gives the restored database a new store id, so that its containers and uids differ from the original's.

    It gets its final name only then, because `_undo` removes everything of the store that it names.
    """
    with contextlib.closing(db.open(arriving)) as store, store.atomic():  # it may be of an earlier version
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
