"""An agent's files into a folder of the user's: under names that are harmless, over nothing that is there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from agentcontainer_local import schemas
from agentcontainer_local.cli import lines, output
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.session import Session
from agentcontainer_local.client import folder

NONE = "The agent handed over no files."


def check(directory: Path) -> None:
    """Before the agent works: that its files can be written there. Raises Stop, and makes nothing."""
    place = directory.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise Stop(
            Exit.WRONG_USE,
            f"{place} is not a folder, so no files can be written to {directory}. Choose another folder with --output.",
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise Stop(Exit.WRONG_USE, f"This account may not write to {place}. Choose another folder with --output.")


def fetch(session: Session, task_id: str, directory: Path) -> list[dict[str, Any]]:
    """The task's outputs; answers each file's shape with the `path` that it was written to."""
    fetched = []
    for file in session.client.list_task_files(task_id):
        directory.mkdir(parents=True, exist_ok=True)
        transfer = session.out.transfer(file.filename, file.size_bytes)
        with transfer as progress, _new(directory, file.filename) as (path, opened):
            session.client.download_task_file(task_id, file.id, opened, progress=progress)
        path = folder.settled(path, file.filename, file.content_type)
        fetched.append({**lines.plain(file), "path": str(path)})
        session.out.note(f"{path}  {output.size(file.size_bytes)}")
    return fetched


def uploaded(session: Session, paths: list[Path]) -> list[schemas.UploadedFile]:
    files = []
    for path in paths:
        with session.out.transfer(path.name, None if path.is_dir() else path.stat().st_size) as progress:
            files.append(session.client.upload(path, progress=progress))
        session.out.note(f"{path}  {output.size(files[-1].size_bytes)} uploaded", "dim")
    return files


@contextlib.contextmanager
def _new(directory: Path, name: str) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file of that name or a similar one; gone again if something fails."""
    path, file = folder.new(directory, name)
    try:
        with file:
            yield path, file
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError) and not error.filename:  # a disk that is full does not say which file
            error.filename = str(path)
        raise
