"""An agent's files in a folder of the user's: under names that are harmless, over nothing that is there."""

import contextlib
import itertools
import os
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from agentcontainer_local import schemas
from agentcontainer_local.client import directory
from agentcontainer_local.process.text import one_line

LONGEST_BYTES = 200


def made(directory: str | os.PathLike[str]) -> Path:
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def new(directory: Path, name: str) -> tuple[Path, BinaryIO]:
    """A new file of that name, or of `name-2`, ...; no link is followed."""
    safe_name = safe(name)
    stem, dot, ending = safe_name.rpartition(".")
    for number in itertools.count(1):
        tried = safe_name if number == 1 else f"{stem}-{number}.{ending}" if dot and stem else f"{safe_name}-{number}"
        with contextlib.suppress(FileExistsError):
            path = directory / tried
            return path, path.open("xb")
    raise AssertionError("unreachable")


def settled(path: Path, name: str, content_type: str) -> Path:
    """Where a file that has come is now: a directory is unpacked, and its archive goes."""
    if content_type != schemas.DIRECTORY:
        return path
    unpacked = directory.unpack(path, path.parent, safe(name.removesuffix(".tar")))
    path.unlink()
    return unpacked


def safe(name: str) -> str:
    """The last part of an agent's name for its file: no folder, no hidden file, no control character, not too long."""
    last = PurePosixPath(one_line(name).replace("\\", "/")).name.strip()
    last = "_" + last if last.startswith((".", "-", "~")) or not last else last
    while len(os.fsencode(last)) > LONGEST_BYTES:
        stem, dot, ending = last.rpartition(".")
        last = f"{stem[:-1]}.{ending}" if dot and stem and len(ending) < 20 else last[:-1]
    return last.rstrip()
