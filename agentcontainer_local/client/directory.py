"""A directory as one archive: packed for the server, and unpacked here. Only plain files and directories."""

import functools
import itertools
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.client.errors import Changed, WrongUse
from agentcontainer_local.process.text import clean, one_line

PIECE = 256 * 1024
BLOCK = 512
MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class Entry:
    """What stands at `path` is called `name` in the archive. `size` is None of a directory."""

    name: str
    path: Path
    size: int | None
    modified: float
    executable: bool

    def header(self) -> bytes:
        member = tarfile.TarInfo(self.name)
        member.type = tarfile.DIRTYPE if self.size is None else tarfile.REGTYPE
        member.size, member.mtime = self.size or 0, int(self.modified)
        member.mode = 0o755 if self.executable else 0o644
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")

    @property
    def space(self) -> int:
        return len(self.header()) + (self.size or 0) + _padding(self.size or 0)


def plan(directory: str | os.PathLike[str]) -> tuple[int, Callable[[], Iterator[bytes]]]:
    """The archive's size, and its bytes. Raises WrongUse for what can't be packed."""
    root = Path(directory).resolve()
    entries = list(itertools.islice(_entries(root, root, ""), MAX_ENTRIES + 1))
    if len(entries) > MAX_ENTRIES:
        raise WrongUse(
            f"{directory} has more than {MAX_ENTRIES} files and directories. Pack it into an archive, and upload that."
        )
    return sum(entry.space for entry in entries) + 2 * BLOCK, functools.partial(_packed, entries)


def _entries(root: Path, folder: Path, below: str) -> Iterator[Entry]:
    for found in sorted(os.scandir(folder), key=lambda one: one.name):
        name = f"{below}{found.name}"
        try:
            name.encode()
        except UnicodeEncodeError:
            raise WrongUse(f"The name of {found.path!r} is not UTF-8. Rename it.") from None
        entry = _entry(root, Path(found.path), name)
        yield entry
        if entry.size is None:
            yield from _entries(root, entry.path, f"{name}/")


def _entry(root: Path, path: Path, name: str) -> Entry:
    """A link to a file of the same directory counts as that file."""
    at = path.resolve() if path.is_symlink() else path
    if at is not path and not (at.is_relative_to(root) and at.is_file()):
        raise WrongUse(
            f"{path} is a link that leads out of the directory, or to a directory. Remove it, or copy what it leads to."
        )
    facts = at.lstat()
    if stat.S_ISDIR(facts.st_mode):
        return Entry(name, at, None, facts.st_mtime, True)
    if not stat.S_ISREG(facts.st_mode):
        raise WrongUse(f"{path} is neither a file nor a directory. Remove it.")
    return Entry(name, at, facts.st_size, facts.st_mtime, bool(facts.st_mode & 0o100))


def _packed(entries: list[Entry]) -> Iterator[bytes]:
    for entry in entries:
        yield entry.header()
        if entry.size is not None:
            yield from _content(entry)
    yield bytes(2 * BLOCK)


def _content(entry: Entry) -> Iterator[bytes]:
    left = entry.size or 0
    with entry.path.open("rb") as file:
        while left:
            if not (piece := file.read(min(PIECE, left))):
                raise Changed(f"{entry.path} became shorter while it was sent.")
            left -= len(piece)
            yield piece
    yield bytes(_padding(entry.size or 0))


def _padding(size: int) -> int:
    return -size % BLOCK


def unpack(archive: Path, folder: Path, name: str) -> Path:
    """Into a new directory `name`, or `name-2`, ...: whole, or not there at all. Answers its path.

    Raises WrongUse for an archive with anything but plain files and directories in it: an agent made it.
    """
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as part:
        made = Path(part) / "made"
        made.mkdir()
        try:
            with tarfile.open(archive, "r:") as opened:
                _unpack(opened, made)
        except (tarfile.TarError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise WrongUse(f"The archive of the directory {name} is damaged: {error}.") from None
        target = _free(folder, name)
        made.rename(target)
    return target


def _unpack(archive: tarfile.TarFile, target: Path) -> None:
    for count in itertools.count(1):
        member = archive.next()
        archive.members.clear()  # type: ignore[attr-defined]  # unknown to typeshed; else it keeps all that it has read
        if member is None:
            return
        if count > MAX_ENTRIES:
            raise tarfile.TarError(f"it has more than {MAX_ENTRIES} entries")
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise tarfile.TarError(f"{one_line(member.name)} is a link or a special file")
        place = target.joinpath(*_parts(member.name))
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None, "it is a regular file"
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file, PIECE)
        place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _parts(name: str) -> list[str]:
    """None leads up; a character that is none to be shown is replaced, as in the names of files."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise tarfile.TarError(f"{one_line(name)} is no name for a file in it")
    return [clean(part).replace("\n", "\N{REPLACEMENT CHARACTER}") for part in parts]


def _free(folder: Path, name: str) -> Path:
    for number in itertools.count(1):
        try:
            (path := folder / (name if number == 1 else f"{name}-{number}")).mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")
