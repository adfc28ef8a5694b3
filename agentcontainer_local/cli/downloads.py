"""An agent's files into a folder of the user's: under names that are harmless, over nothing that is there."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from agentcontainer_local import schemas
from agentcontainer_local.cli import output
from agentcontainer_local.cli.session import Session

LONGEST_BYTES = 200


def fetch(session: Session, task_id: str, directory: Path) -> list[dict]:
    """The task's outputs; answers each file's shape with the `path` that it was written to."""
    fetched = []
    for file in session.client.list_task_files(task_id):
        directory.mkdir(parents=True, exist_ok=True)
        transfer = session.out.transfer(file.filename, file.size_bytes)
        with transfer as progress, _new(directory, safe(file.filename)) as (path, opened):
            session.client.download_task_file(task_id, file.id, opened, progress=progress)
        fetched.append({**output.plain(file), "path": str(path)})
        session.out.note(f"{path}  {output.size(file.size_bytes)}")
    return fetched


def uploaded(session: Session, paths: list[Path]) -> list[schemas.UploadedFile]:
    files = []
    for path in paths:
        with session.out.transfer(path.name, path.stat().st_size) as progress:
            files.append(session.client.upload(path, progress=progress))
        session.out.note(f"{path}  {output.size(files[-1].size_bytes)} uploaded", "dim")
    return files


@contextlib.contextmanager
def _new(directory: Path, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file of that name, or of `name-2`, ...; gone again if something fails. No link is followed."""
    stem, dot, ending = name.rpartition(".")
    for number in itertools.count(1):
        tried = name if number == 1 else f"{stem}-{number}.{ending}" if dot and stem else f"{name}-{number}"
        with contextlib.suppress(FileExistsError):
            path = directory / tried
            file = path.open("xb")
            break
    try:
        with file:
            yield path, file
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError) and not error.filename:       # a disk that is full does not say which file
            error.filename = str(path)
        raise


def safe(name: str) -> str:
    """The last part of an agent's name for its file: no folder, no hidden file, no control character, not too long."""
    last = PurePosixPath(output.one_line(name).replace("\\", "/")).name.strip()
    last = "_" + last if last.startswith((".", "-", "~")) or not last else last
    while len(os.fsencode(last)) > LONGEST_BYTES:
        stem, dot, ending = last.rpartition(".")
        last = f"{stem[:-1]}.{ending}" if dot and stem and len(ending) < 20 else last[:-1]
    return last.rstrip()
