"""The directory of recordings."""

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from agentcontainer_local.gateway.cassettes import bodies, document, text
from agentcontainer_local.gateway.cassettes.document import VERSION, Cassette, Head
from agentcontainer_local.gateway.cassettes.names import SUFFIX, Named

IGNORED = "ignored.txt"  # patterns, one per line; matching text is not compared
CALLS = "\ncalls:\n"
END = re.compile(r"\nended: [a-z_]+\s*\Z")
TAIL_BYTES = 64
LIKE_CHARACTERS, MIN_LIKENESS = 2000, 0.5

Shape = TypeVar("Shape", bound=Head)


class Damaged(Exception):
    """A recording that can't be used. The message says which, why, and what to do."""


@dataclass
class Shelf:
    folder: Path
    heads: dict[str, Head]  # by file name
    ignored: tuple[re.Pattern[str], ...]
    taken: set[str] = field(default_factory=set)

    def take(self, named: Named) -> str | None:
        """The file for another task with these instructions: an unused one, preferably with exactly the same text."""
        found = [name for name in self._like(named) if name not in self.taken] or self._like(named)[-1:]
        same = [name for name in found if _asked(self.heads[name]) == _asked_by(named)]
        name = next(iter(same or found), None)
        if name is not None:
            self.taken.add(name)
        return name

    def _like(self, named: Named) -> list[str]:
        ordinals = range(1, len(self.heads) + 1)
        return [name for name in map(named.file, ordinals) if name in self.heads]

    def take_next(self, named: Named) -> str | None:
        """The oldest unused recording of this agent, whatever its instructions."""
        same = [
            (head.recorded, name)
            for name, head in self.heads.items()
            if name not in self.taken and (head.task.agent, head.task.mode) == (named.about.agent, named.about.mode)
        ]
        if not same:
            return None
        self.taken.add(min(same)[1])
        return min(same)[1]

    def nearest(self, named: Named) -> str | None:
        """The recording of this agent whose instructions are most similar, or None."""
        asked = " ".join(map(str, _asked_by(named)))[:LIKE_CHARACTERS]
        like = [
            (difflib.SequenceMatcher(None, asked, " ".join(map(str, _asked(head)))[:LIKE_CHARACTERS]).ratio(), name)
            for name, head in self.heads.items()
            if (head.task.agent, head.task.mode) == (named.about.agent, named.about.mode)
        ]
        ratio, name = max(like, default=(0.0, ""))
        return name if ratio >= MIN_LIKENESS else None


def _asked(head: Head) -> tuple[str, str | None]:
    return head.task.instructions, head.task.message


def _asked_by(named: Named) -> tuple[str, str | None]:
    return named.about.instructions, named.about.message


def opened(folder: Path) -> Shelf:
    """Opens the directory and reads the beginning and the end of each file. Raises Damaged."""
    if not folder.is_dir():
        raise Damaged(f"There is no directory {folder}. Record into it first, with --record.")
    return Shelf(folder, {path.name: _head(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}, _ignored(folder))


def _head(path: Path) -> Head:
    try:
        with path.open("rb") as file:
            begin = file.read(64 * 1024)
            while CALLS.encode() not in begin and (more := file.read(64 * 1024)):
                begin += more
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            end = file.read()
    except OSError as error:
        raise Damaged(f"{path} can't be read: {error.strerror}.") from None
    head, found, _ = begin.partition(CALLS.encode())
    if found:
        _check_version(path, parsed := _parsed(path, head))
        if not END.search(end.decode("utf-8", "replace")):
            raise _damaged(path, "its end is missing")
        return _validated(path, Head, parsed)
    _check_version(path, _parsed(path, head))
    raise _damaged(path, "it has no `calls`")


def whole(path: Path) -> Cassette:
    """Reads a complete recording. Raises Damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} can't be read: {error.strerror}.") from None
    _check_version(path, parsed := _parsed(path, content))
    return _validated(path, Cassette, parsed)


def requests(cassette: Cassette) -> list[dict[str, object]]:
    return bodies.whole([call.request for call in cassette.calls])


def _parsed(path: Path, content: bytes) -> object:
    try:
        return text.read(content.decode())
    except UnicodeDecodeError:
        raise _damaged(path, "it is not UTF-8") from None
    except text.Unreadable as error:
        raise _damaged(path, str(error)) from None


def _check_version(path: Path, parsed: object) -> None:
    version = parsed.get("cassette") if isinstance(parsed, dict) else None
    if version is None:
        raise _damaged(path, "it does not begin with `cassette: 1`")
    if version != VERSION:
        raise Damaged(
            f"{path} is a recording of version {version!r}, and this agentcontainer reads version {VERSION}. Use the"
            " agentcontainer that recorded it, or record it again with --record."
        )


def _validated(path: Path, shape: type[Shape], parsed: object) -> Shape:
    try:
        return shape.model_validate(parsed)
    except ValidationError as error:
        raise _damaged(path, document.why(error)) from None


def _damaged(path: Path, why: str) -> Damaged:
    return Damaged(
        f"{path} is damaged: {why}. Restore it from version control, or remove it and record it again with --record."
    )


def _ignored(folder: Path) -> tuple[re.Pattern[str], ...]:
    path = folder / IGNORED
    if not path.exists():
        return ()
    patterns = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            try:
                patterns.append(re.compile(line))
            except re.error as error:
                raise Damaged(f"{path}, line {number} is not a regular expression: {error}.") from None
    return tuple(patterns)
