"""A data directory in one file, taken while its server works, and brought back.

The database is copied by SQLite's online backup, so it is of one moment. Files are never changed, so they can follow
it. Of each task that has not ended come its workspace and its agent's session, as they are when their turn comes: a
task that is brought back goes on from there, as after a reboot.
"""

import contextlib
import io
import os
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agentcontainer_local import db
from agentcontainer_local.run import volumes_of
from agentcontainer_local.settings import Settings

Progress = Callable[[int, int], None]       # bytes so far, and in all
ALIVE = "SELECT id FROM tasks WHERE completed_at IS NULL ORDER BY number"
FILES = "SELECT id FROM files UNION SELECT storage_id FROM uploads WHERE storage_id IS NOT NULL"
NAME = re.compile(r"agentcontainer\.db|secret\.key|files/[a-z0-9_]+|volumes/agentcontainer-tsk_[a-z0-9]+-(work|state)")


@dataclass(frozen=True)
class Held:
    """What a backup holds: so many files, and workspace and session of so many tasks that have not ended."""

    files: int
    tasks: int


def backup(settings: Settings, target: Path, progress: Progress) -> Held:
    """Writes `target`, whole or not at all; raises RuntimeError. It holds the key of the secrets: only ours to read."""
    if not (settings.data / "agentcontainer.db").exists():
        raise RuntimeError(f"There is no data directory at {settings.data}.")
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as folder:
        part = Path(folder, "part")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
                held = _fill(archive, settings.data, Path(folder), progress)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    return held


def _fill(archive: tarfile.TarFile, data: Path, folder: Path, progress: Progress) -> Held:
    copy = folder / "agentcontainer.db"
    _copy_database(data / "agentcontainer.db", copy)
    paths = [data / "files" / row[0] for row in _rows(copy, FILES)]
    done, size = 0, copy.stat().st_size + sum(path.stat().st_size for path in paths if path.exists())

    def add(path: Path, name: str) -> None:
        nonlocal done, size
        archive.add(path, name)
        done += path.stat().st_size
        size = max(done, size)
        progress(done, size)

    add(copy, copy.name)
    archive.add(data / "secret.key", "secret.key")
    for path in paths:
        with contextlib.suppress(FileNotFoundError):        # deleted since the database's moment
            add(path, f"files/{path.name}")
    at_work = set()
    for task_id, volume in [(row[0], volume) for row in _rows(copy, ALIVE) for volume in volumes_of(row[0])]:
        exported = folder / volume
        if _exported(volume, exported):
            add(exported, f"volumes/{volume}")
            at_work.add(task_id)
        exported.unlink(missing_ok=True)
    return Held(len(paths), len(at_work))


def _exported(volume: str, target: Path) -> bool:
    """False where there is none: its task was not begun yet, or has ended since the database's moment."""
    try:
        _podman("volume", "export", "--output", str(target), volume)
    except RuntimeError:
        if _exists(volume):
            raise
        return False
    return True


def _copy_database(source: Path, target: Path) -> None:
    """In one step: a copy in many would begin again each time that the server writes."""
    with contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=60)) as live, \
            contextlib.closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        if (found := copy.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
            raise RuntimeError(f"The database is damaged: {found}")


def restore(source: Path, data: Path, progress: Progress) -> Held:
    """Makes the data directory `data` from a backup; its server goes on with the tasks. Raises RuntimeError.

    Nothing that is there is overwritten: no data directory, and no volume that a container uses.
    """
    if data.exists() and any(data.iterdir()):
        raise RuntimeError(f"{data} is not empty: restore makes a data directory, it does not change one.")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _Watched(source, progress) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
            return _unpack(archive, data)
    except BaseException as error:
        for entry in data.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if isinstance(error, tarfile.TarError | EOFError | zlib.error | sqlite3.Error):
            raise RuntimeError(f"{source} is no backup, or is damaged: {error}") from None
        raise


class _Watched(io.FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Progress):
        super().__init__(path)
        self._progress, self._size = progress, path.stat().st_size

    def read(self, size: int = -1) -> bytes:
        piece = super().read(size)
        self._progress(self.tell(), self._size)
        return piece


def _unpack(archive: tarfile.TarFile, data: Path) -> Held:
    """Only what a backup holds, under names of ours: an archive may name anything. The database is in place last."""
    (data / "files").mkdir(mode=0o700)
    database, at_work = data / "restored.db", set()
    for member in archive:
        if not member.isfile() or not NAME.fullmatch(member.name):
            raise RuntimeError(f"This is no backup: it holds {member.name!r}.")
        content = archive.extractfile(member)
        if member.name.startswith("volumes/"):
            at_work.add(_restore_volume(database, member.name.removeprefix("volumes/"), content, data / "volume.tar"))
        else:
            _write(database if member.name == "agentcontainer.db" else data / member.name, content)
            if member.name == "agentcontainer.db":
                db.open(database).close()       # of an earlier version, perhaps: the volumes' uids are read from it
    if not database.exists():
        raise RuntimeError("This is no backup: it holds no database.")
    database.rename(data / "agentcontainer.db")
    return Held(len(list((data / "files").iterdir())), len(at_work))


def _write(path: Path, content: BinaryIO) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _restore_volume(database: Path, name: str, content: BinaryIO, exported: Path) -> str:
    """Answers the id of its task."""
    task_id = name.removeprefix("agentcontainer-").rpartition("-")[0]
    found = _rows(database, "SELECT uid, store.id FROM tasks, store WHERE tasks.id = ?", task_id)
    if not found:
        raise RuntimeError(f"The backup's database has no task {task_id}.")
    (uid, store_id), = found
    if _exists(name):
        _podman("volume", "rm", name)       # Podman refuses where a container uses it
    _podman("volume", "create", "--label", f"agentcontainer.store={store_id}", "--label",
            f"agentcontainer.task={task_id}", "--opt", f"o=uid={uid},gid={uid}", name)
    _write(exported, content)
    _podman("volume", "import", name, str(exported))
    exported.unlink()
    return task_id


def _rows(database: Path, sql: str, *parameters) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(database)) as store:
        return store.execute(sql, parameters).fetchall()


def _exists(volume: str) -> bool:
    return subprocess.run(["podman", "volume", "exists", volume], cwd="/").returncode == 0


def _podman(*words: str) -> None:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        raise RuntimeError(f"podman {' '.join(words[:2])} did not work: {done.stderr.strip()}")
