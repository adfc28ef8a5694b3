"""Reads stored files and verifies their SHA-256."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from agentcontainer_local.errors import Problem
from agentcontainer_local.store.db import Row

# files up to this size are verified before anything is sent; larger ones while they are sent
AT_ONCE_BYTES = 4 * 1024**2
PIECE_BYTES = 1024**2
MAX_REMEMBERED_FILES = 10_000


class Damaged(Problem):
    """The content on disk is not what was stored, is missing, or can't be read."""

    def __init__(self, file: Row, how: str = "its content has changed (the SHA-256 differs)"):
        super().__init__(
            f"The file {file['filename']} ({file['id']}) is damaged in the data directory: {how}."
            " Upload it again, or restore a backup."
        )


class Cut(RuntimeError):
    """An answer in progress turned out to be damaged. The connection ends before it is complete."""

    def __init__(self, file: Row):
        super().__init__(str(Damaged(file)))


# Results, by file and state on disk. A change of the content changes the times too.
Key = tuple[str, str, int, int, int]
_known: dict[Key, bool] = {}


async def require(file: Row, place: Path) -> bool:
    """True: the content is correct. False: too large to verify now; `chunks` verifies it. Raises Damaged."""
    key = await asyncio.to_thread(_key, file, place)
    if key not in _known and file["size_bytes"] <= AT_ONCE_BYTES:
        _remember(key, await asyncio.to_thread(_digest_of, file, place) == file["sha256"])
    if _known.get(key, True) is False:
        raise Damaged(file)
    return key in _known


async def chunks(file: Row, place: Path) -> AsyncIterator[bytes]:
    """The content in pieces; the last one only if all is correct. Raises Damaged at the beginning, or Cut."""
    key, digest = await asyncio.to_thread(_key, file, place), hashlib.sha256()

    def read() -> bytes:
        try:
            piece = source.read(PIECE_BYTES)
        except OSError:  # the disk fails
            _remember(key, False)
            raise Cut(file) from None
        digest.update(piece)
        return piece

    with place.open("rb") as source:
        held = await asyncio.to_thread(read)
        while piece := await asyncio.to_thread(read):
            yield held
            held = piece
    _remember(key, digest.hexdigest() == file["sha256"])
    if not _known[key]:
        raise Cut(file)
    yield held


def _key(file: Row, place: Path) -> Key:
    """The key of a file that can be opened. Opened without blocking, because anything could be at this path."""
    try:
        opened = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        found = os.fstat(opened)
        os.close(opened)
    except FileNotFoundError:
        raise Damaged(file, "its content is missing") from None
    except OSError as error:
        raise Damaged(file, f"its bytes can't be read ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(file, "another file or directory has its name")
    if found.st_size != file["size_bytes"]:
        raise Damaged(file)
    return str(place), file["sha256"], found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _digest_of(file: Row, place: Path) -> str:
    try:
        with place.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise Damaged(file, f"its bytes can't be read ({error.strerror})") from None


def _remember(key: Key, whole: bool) -> None:
    if len(_known) >= MAX_REMEMBERED_FILES:
        _known.pop(next(iter(_known)))
    _known[key] = whole
