"""Reads exported workspaces as streams.

The agent chose all names, so only plain files and directories are used.
"""

import io
import itertools
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from agentcontainer_local.sandbox.backend import Archive

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE = 256 * 1024
TEXT = "surrogateescape"


Kind = Literal["file", "directory", "link", "other"]


@dataclass(frozen=True)
class Entry:
    """An entry of an archive. `link` and `other` (a FIFO, a socket, a device) are only listed."""

    path: str
    kind: Kind
    size_bytes: int
    executable: bool
    modified_at: datetime


def entries(export: Archive, after: int, most: int) -> list[Entry]:
    """At most `most` entries after the first `after` ones."""
    with _members(export) as members:
        return [_entry(*found) for found in itertools.islice(members, after, after + most)]


def content(export: Archive, path: str) -> tuple[int, Iterator[bytes]] | None:
    """A file's size and content; None if there is no such file."""
    pieces = _content(export, path)
    size = next(pieces)
    return (size, pieces) if isinstance(size, int) else None


def repacked(export: Archive) -> Iterator[bytes]:
    """A tar archive of the files and directories. A hard link stays one if its file comes before it."""
    out = _Pieces()
    kept: set[str] = set()
    with _members(export) as members, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for source, member, path in members:
            if member.islnk() and _plain(member.linkname) not in kept or not _counts(member):
                continue
            kept.add(path)
            archive.addfile(_clean(member, path), source.extractfile(member) if member.isreg() else None)
            archive.members.clear()  # type: ignore[attr-defined]  # unknown to typeshed
            yield from out.taken()
    yield from out.taken()


def _content(export: Archive, path: str) -> Iterator[Any]:
    """Yields the size, then the content. A hard link's content is that of its file, which comes before it."""
    with _members(export) as members:
        found = next(((s, m) for s, m, name in members if name == path and _counts(m) and not m.isdir()), None)
        if found is None:
            yield None
            return
        source, member = found
        if member.isreg():
            yield member.size
            file = source.extractfile(member)
            assert file is not None, "it is a file"
            while piece := file.read(PIECE):
                yield piece
            return
    yield from _content(export, _plain(member.linkname))


@contextmanager
def _members(export: Archive) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]]:
    with export() as file, tarfile.open(fileobj=file, mode="r|", encoding="utf-8", errors=TEXT) as archive:
        yield _each(archive)


def _each(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, str]]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # unknown to typeshed; it would keep a million
        if path := _plain(member.name):
            yield archive, member, path


def _plain(name: str) -> str:
    """The path below the workspace, as valid Unicode. Empty for a path that leads outside."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = "/".join(parts).encode("utf-8", TEXT).decode("utf-8", "replace")
    return "" if ".." in parts or "\0" in path else path


def _counts(member: tarfile.TarInfo) -> bool:
    return (member.isreg() or member.isdir() or member.islnk()) and not member.issparse()


def _clean(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """The entry without owners, special mode bits and other metadata."""
    clean = tarfile.TarInfo(path)
    clean.type = member.type if member.islnk() or member.isdir() else tarfile.REGTYPE
    clean.linkname = _plain(member.linkname) if member.islnk() else ""
    clean.size = member.size if member.isreg() else 0
    clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    clean.mtime = member.mtime
    return clean


def _entry(_: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    kind: Kind = "directory" if member.isdir() else "file" if _counts(member) else "link" if member.issym() else "other"
    changed = datetime.fromtimestamp(min(max(member.mtime, 0), 2**37), UTC)
    executable = kind == "file" and bool(member.mode & 0o100)
    return Entry(path, kind, member.size if member.isreg() else 0, executable, changed)


class _Pieces(io.RawIOBase):
    """A file object whose written bytes can be taken piece by piece."""

    def __init__(self) -> None:
        self._written = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, piece: "ReadableBuffer") -> int:
        return self._written.write(piece)

    def taken(self) -> Iterator[bytes]:
        piece = self._written.getvalue()
        self._written = io.BytesIO()
        if piece:
            yield piece
