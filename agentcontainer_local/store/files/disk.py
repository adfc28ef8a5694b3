"""Writes files to disk, completely and synced or not at all, under names that no user chose."""

import asyncio
import errno
import hashlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from agentcontainer_local.errors import TooLarge, Unavailable
from agentcontainer_local.process import disk_space, failpoints
from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.store.db import Database, check, rows

log = logging.getLogger(__name__)

INCOMING = "incoming"  # the directory for incomplete files
BATCH_BYTES = 4 * 1024**2  # size of the pieces for the disk's thread; with a quarter of it, writing took a tenth longer


T = TypeVar("T")


class Incoming:
    """A file that is being received. It is written in a worker thread, hashed, and limited to `max_bytes`."""

    def __init__(self, name: str, file: BinaryIO, max_bytes: int, count: Callable[[int], None] | None):
        self.name = name  # the id of the future file, and its name on disk
        self.size = 0
        self._file = file
        self._max_bytes = max_bytes
        self._count = count
        self._batch: list[bytes | memoryview] = []
        self._batched = 0
        self._storing: asyncio.Task[None] | None = None
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, chunk: bytes | memoryview) -> None:
        """Adds a piece. Raises TooLarge, and Unavailable if the disk is full."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise TooLarge(f"The file is larger than {self._max_bytes} bytes.")
        self._batch.append(chunk)
        self._batched += len(chunk)
        if self._batched >= BATCH_BYTES:
            await self._store_batch()

    async def flush(self) -> None:
        await self._store_batch()
        await self.rest()

    async def _store_batch(self) -> None:
        """Starts to hash and store the collected batch. Meanwhile the next one is received."""
        await self.rest()
        batch, size, self._batch, self._batched = self._batch, self._batched, [], 0
        if batch:
            if self._count is not None:
                self._count(size)
            self._storing = asyncio.create_task(_with_disk(self._store, batch))

    async def rest(self) -> None:
        """Waits for the batch that is being stored."""
        storing, self._storing = self._storing, None
        if storing is not None:
            await storing

    def _store(self, batch: list[bytes | memoryview]) -> None:
        if disk_space.room(Path(self._file.name).parent) < sum(map(len, batch)):
            raise OSError(errno.ENOSPC, "the rest of the disk is reserved for the database")
        begin = self._file.tell()
        for chunk in batch:
            self._file.write(chunk)
            self._digest.update(chunk)
        # Makes the kernel start to write, so that the sync at the end is short.
        os.posix_fadvise(self._file.fileno(), begin, self._file.tell() - begin, os.POSIX_FADV_DONTNEED)


@asynccontextmanager
async def receiving(
    root: Path, id: str, max_bytes: int, count: Callable[[int], None] | None = None
) -> AsyncIterator[Incoming]:
    """Yields an Incoming to write to. On normal exit the file is complete, synced and in place. On an error it is
    removed.

    `id`: the id of the future file. `count` is called with the size of each batch before it is written, and may raise.

    The file belongs to nobody until `add` (or an upload's row) names it. `sweep` removes files that a crash left
    without a row.
    """
    temporary = root / INCOMING / secrets.token_hex(16)
    with _disk_errors():
        file = _open_new(temporary)
    incoming = Incoming(id, file, max_bytes, count)
    try:
        yield incoming
        await incoming.flush()
        await _with_disk(_settle, file, temporary, path(root, incoming.name))
        failpoints.point("bytes.placed")
    except BaseException:
        with suppress(Exception, asyncio.CancelledError):  # secondary errors: the first one is raised
            await asyncio.shield(incoming.rest())
        path(root, incoming.name).unlink(missing_ok=True)
        raise
    finally:
        file.close()
        temporary.unlink(missing_ok=True)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable("The disk is full. The file was not stored.") from error
        if error.errno in disk_space.UNWRITABLE:
            words = f"The data directory can't be written ({error.strerror}). The file was not stored."
            raise Unavailable(words) from error
        raise


async def _with_disk(work: Callable[..., T], *arguments: Any) -> T:
    with _disk_errors():
        return await to_the_end(asyncio.to_thread(work, *arguments))


def _open_new(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _settle(file: BinaryIO, temporary: Path, place: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    temporary.rename(place)
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def path(root: Path, file_id: str) -> Path:
    """The path of a file's content. `file_id` must come from a row, never from a request."""
    return root / file_id


def discard(root: Path, names: Iterable[str]) -> None:
    """Removes files that no row names."""
    for name in names:
        try:
            path(root, name).unlink(missing_ok=True)
        except OSError as error:  # the next start removes them
            log.warning("unused files were not removed: %s", error)


def sweep(db: Database, root: Path) -> None:
    """Removes files that no row names, left by a crash or an interrupted deletion. Only at start.

    Raises sqlite3.DatabaseError if the tables with the names are damaged, because then nobody knows what is in use.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    named = "SELECT id FROM files UNION SELECT storage_id FROM uploads WHERE storage_id IS NOT NULL"
    kept = {entry["id"] for entry in rows(db, named)}
    nobodys = [entry for entry in root.iterdir() if entry.name not in kept and entry.is_file()]
    if nobodys:
        check(db, "files", "uploads")
    for leftover in [*(root / INCOMING).glob("*"), *nobodys]:
        if leftover.is_file():
            leftover.unlink()
