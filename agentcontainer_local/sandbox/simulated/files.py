"""The stored data of a simulated task: workspace, session, and files written elsewhere."""

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from agentcontainer_local.sandbox.errors import SandboxError

HOME = "/workspace"


class FileProblem(Exception):
    """The agent can't do this with the file. The message is for the agent."""


class Kept:
    """The directory of a task. `run.json` stands for a container: it exists from the first start until the removal.

    Only plain files and directories are created, so no path leads outside.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts = {"workspace": folder / "workspace", "session": folder / "session"}
        self.elsewhere = folder / "elsewhere"  # files outside of the workspace; lost when the container is removed
        self._mark = folder / "run.json"
        self.session = folder / "session/session.jsonl"
        self.arriving = folder / "arriving"  # a file that is being fetched

    @property
    def is_there(self) -> bool:
        return self.folder.exists()

    @property
    def has_container(self) -> bool:
        return self._mark.exists()

    def begin(self, about: dict[str, str | int]) -> None:
        for part in (*self.parts.values(), self.elsewhere):
            part.mkdir(parents=True, exist_ok=True)
        self._mark.write_text(json.dumps(about))

    def remove_container(self) -> None:
        self._mark.unlink(missing_ok=True)
        shutil.rmtree(self.elsewhere, ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    # The agent's files

    def path(self, name: str) -> Path:
        """The path of an agent's file. `name`: absolute, below `~`, or relative to the workspace."""
        whole = HOME + name[1:] if name == "~" or name.startswith("~/") else name
        parts: list[str] = []
        for part in PurePosixPath(HOME, whole).parts[1:]:
            if part != "..":
                parts.append(part)
            elif parts:
                parts.pop()
        if not name or "\0" in name:
            raise FileProblem("a file name is empty")
        below = self.parts["workspace"] if parts[:1] == [HOME[1:]] else self.elsewhere
        return below.joinpath(*parts[below is self.parts["workspace"] :])

    def read(self, name: str) -> bytes:
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise FileProblem(problem(error)) from None

    def write(self, name: str, content: bytes, append: bool = False) -> None:
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if append else "wb") as file:
                file.write(content)
        except OSError as error:
            raise FileProblem(problem(error)) from None

    # Archives

    @contextlib.contextmanager
    def export(self, part: str) -> Iterator[BinaryIO]:
        """A part as a tar archive. Raises FileNotFoundError if nothing is kept."""
        root = self._part(part)
        if not root.exists():
            raise FileNotFoundError(f"Nothing is kept of the task's {part}.")
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.add(root, arcname=".")
            file.seek(0)
            yield file

    def import_(self, part: str, archive: BinaryIO) -> None:
        root = self._part(part)
        if root.exists():
            raise SandboxError(f"The task has a {part} already.")
        try:
            unpack(archive, root)
        except (tarfile.TarError, FileProblem, OSError) as error:
            shutil.rmtree(root, ignore_errors=True)
            raise SandboxError(f"The archive of the task's {part} cannot be used: {error}") from None

    def _part(self, part: str) -> Path:
        if part not in self.parts:
            raise SandboxError(f"A task has no part {part!r}: give one of {', '.join(self.parts)}.")
        return self.parts[part]


def unpack(file: BinaryIO, root: Path) -> None:
    """Unpacks a tar archive. Raises FileProblem for anything but plain files and directories."""
    root.mkdir(parents=True)
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                raise FileProblem(f"{member.name} is not a plain file or directory below the archive's root")
            place = root / path
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                content = archive.extractfile(member)
                assert content is not None
                with place.open("wb") as out:
                    shutil.copyfileobj(content, out)


def pack(root: Path) -> bytes:
    """A tar archive of a directory that an agent delivers."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(root.rglob("*")):
                archive.add(path, arcname=str(path.relative_to(root)), recursive=False)
        file.seek(0)
        return file.read()


def problem(error: OSError) -> str:
    """The message of the real commands for this error."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file"
    return os.strerror(error.errno) if error.errno else str(error)
