"""Files: bytes on disk under a name that no user chose, and the rows that say what they are."""

import asyncio
import errno
import hashlib
import os
import secrets
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from sqlite_utils import Database

from agentcontainer_local import schemas
from agentcontainer_local.db import Row, iso, new_id, row, rows
from agentcontainer_local.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable

INCOMING = "incoming"           # the folder of what is not whole yet
BATCH_BYTES = 1024**2           # so much goes to the disk's thread at once
DEFAULT_TYPE = "application/octet-stream"


# Bytes

class Incoming:
    """Bytes on their way in: written in a worker thread, hashed on the way, counted against `max_bytes`."""

    def __init__(self, file: BinaryIO, max_bytes: int):
        self.name = new_id("file")      # of the bytes on disk, and of the file that they become
        self.size = 0
        self._file = file
        self._max_bytes = max_bytes
        self._batch: list[bytes] = []
        self._batched = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Raises TooLarge, or Unavailable when the disk is full."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise TooLarge(f"The file is over {self._max_bytes} bytes.")
        self._batch.append(chunk)
        self._batched += len(chunk)
        if self._batched >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        batch, self._batch, self._batched = self._batch, [], 0
        if batch:
            await _with_disk(self._store, batch)

    def _store(self, batch: list[bytes]) -> None:
        for chunk in batch:
            self._file.write(chunk)
            self._digest.update(chunk)


@asynccontextmanager
async def receiving(root: Path, max_bytes: int) -> AsyncIterator[Incoming]:
    """Gives an Incoming to write to. Left without an error, its bytes are whole, synced and in place; else gone.

    They are nobody's until `add` (or an upload's row) names them; what a crash leaves unnamed, `sweep` removes.
    """
    temporary = root / INCOMING / secrets.token_hex(16)
    file = await _with_disk(_open_new, temporary)
    try:
        incoming = Incoming(file, max_bytes)
        yield incoming
        await incoming.flush()
        await _with_disk(_settle, file, temporary, path(root, incoming.name))
    finally:
        file.close()
        temporary.unlink(missing_ok=True)


async def _with_disk(work, *arguments):
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable("The disk is full; nothing of the file was kept.") from error
        raise


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
    """Where a file's bytes are; `file_id` from a row, never from outside."""
    return root / file_id


def discard(root: Path, names: Iterable[str]) -> None:
    """Removes bytes that no row names."""
    for name in names:
        path(root, name).unlink(missing_ok=True)


def sweep(db: Database, root: Path) -> None:
    """Removes bytes that no row names: what a crash, or a deletion cut short, left behind. Only at start."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    named = "SELECT id FROM files UNION SELECT storage_id FROM uploads WHERE storage_id IS NOT NULL"
    kept = {entry["id"] for entry in rows(db, named)} | {INCOMING}
    for leftover in [*(root / INCOMING).glob("*"), *(entry for entry in root.iterdir() if entry.name not in kept)]:
        leftover.unlink()


# Rows

PAGE_UP = "SELECT * FROM files WHERE account_id = ? AND number > ? ORDER BY number LIMIT ?"
PAGE_DOWN = "SELECT * FROM files WHERE account_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def add(
    db: Database, account_id: str, filename: str, content_type: str | None, name: str, size: int, sha256: str,
    now: datetime,
) -> Row:
    """The row for bytes that are in place under `name`, which becomes the file's id."""
    db.conn.execute(
        "INSERT INTO files (id, account_id, filename, content_type, size_bytes, sha256, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, account_id, filename, content_type or DEFAULT_TYPE, size, sha256, iso(now)),
    )
    return row(db, "SELECT * FROM files WHERE id = ?", (name,))


def one(db: Database, account_id: str, file_id: str) -> Row:
    found = row(db, "SELECT * FROM files WHERE id = ? AND account_id = ?", (file_id, account_id))
    if found is None:
        raise NotFound(f"There is no file {file_id}.")
    return found


def owned(db: Database, account_id: str, ids: list[str], field: str = "inputFileIds") -> list[Row]:
    """The account's files of these ids, in their order; raises Invalid naming those that do not exist."""
    found = [row(db, "SELECT * FROM files WHERE id = ? AND account_id = ?", (id, account_id)) for id in ids]
    missing = [id for id, file in zip(ids, found, strict=True) if file is None]
    if missing:
        named = ", ".join(missing[:10])
        raise Invalid(f"{field}: there is no file {named}", [
            {"field": field, "message": f"there is no file {id}"} for id in missing[:10]
        ])
    return found


def page(db: Database, account_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, PAGE_UP if ascending else PAGE_DOWN, (account_id, after, limit))


def delete(db: Database, account_id: str, file_id: str) -> None:
    """Removes the row; its bytes are the caller's to discard afterwards. Raises Conflict while something needs it."""
    try:
        with db.atomic():
            one(db, account_id, file_id)
            db.conn.execute("DELETE FROM files WHERE id = ?", (file_id,))
    except sqlite3.IntegrityError:
        raise Conflict("A task or an agent version needs this file.") from None


def used_bytes(db: Database, account_id: str) -> int:
    used = row(db, "SELECT sum(size_bytes) AS bytes FROM files WHERE account_id = ?", (account_id,))
    return used["bytes"] or 0


def check_quota(db: Database, account_id: str, more_bytes: int, quota_bytes: int | None) -> None:
    if quota_bytes is not None and used_bytes(db, account_id) + more_bytes > quota_bytes:
        raise TooLarge(f"The account's files would be over their quota of {quota_bytes} bytes; delete some first.")


def shape(file: Row) -> schemas.File:
    return schemas.File(id=file["id"], filename=file["filename"], content_type=file["content_type"],
                        size_bytes=file["size_bytes"], created_at=file["created_at"])
