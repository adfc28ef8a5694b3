"""Reads stored bytes, and compares them with their SHA-256."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from agentcontainer_local.errors import Problem
from agentcontainer_local.store.db import Row

AT_ONCE_BYTES = 4 * 1024**2  # so much is looked at before anything is sent; more, while it is
PIECE_BYTES = 1024**2
MAX_REMEMBERED_FILES = 10_000


class Damaged(Problem):
    """The bytes on disk are not those that were stored, are gone, or can't be read."""

    def __init__(self, file: Row, how: str = "its content has changed (the SHA-256 differs)"):
        super().__init__(
            f"The file {file['filename']} ({file['id']}) is damaged in the data directory: {how}."
            " Upload it again, or restore a backup."
        )


class Cut(RuntimeError):
    """What is being sent must not be taken for whole: the connection ends before it is."""

    def __init__(self, file: Row):
        super().__init__(str(Damaged(file)))


# What was found of a file as it lies there: a change of its bytes changes its times too.
Key = tuple[str, str, int, int, int]
_known: dict[Key, bool] = {}


async def require(file: Row, place: Path) -> bool:
    """True: its bytes are right. False: there are too many to know that at once; `chunks` will. Raises Damaged."""
    key = await asyncio.to_thread(_key, file, place)
    if key not in _known and file["size_bytes"] <= AT_ONCE_BYTES:
        _remember(key, await asyncio.to_thread(_digest_of, file, place) == file["sha256"])
    if _known.get(key, True) is False:
        raise Damaged(file)
    return key in _known


async def chunks(file: Row, place: Path) -> AsyncIterator[bytes]:
    """All bytes; the last ones only when all are known to be right. Raises Damaged at the begin, or Cut."""
    key, digest = await asyncio.to_thread(_key, file, place), hashlib.sha256()

    def read() -> bytes:
        try:
            piece = source.read(PIECE_BYTES)
        except OSError:  # a disk that fails
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
    """Of a file that can be opened; what is in its place may be anything, so that nobody waits for it."""
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
