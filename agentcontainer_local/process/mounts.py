"""Which file system a path is on, so that a disk that is not mounted can be told from a directory that was deleted."""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")  # proc(5)
IN_MEMORY = ("tmpfs", "ramfs")


class Mount(NamedTuple):
    point: str
    root: str  # the directory of the file system that is mounted there; "/" except for bind mounts and subvolumes
    kind: str  # ext4, tmpfs
    file_system: str  # its id, as statvfs(3) has it; the same after a reboot for most kinds

    def text(self) -> str:
        return "\t".join((self.kind, self.file_system, self.root, self.point))

    @classmethod
    def parsed(cls, text: str) -> "Mount":
        kind, file_system, root, point = text.split("\t")
        return cls(point, root, kind, file_system)


def of(path: Path) -> Mount:
    """The mount that `path` is on, or would be on: it need not exist, and is not followed. An absolute path."""
    above = {str(folder) for folder in (path, *path.parents)}
    found = [row for row in _rows() if row[0] in above]
    point, root, kind = max(found, key=lambda row: len(row[0]))  # of several at one point, the last is seen
    return Mount(point, root, kind, _id(point))


def why_out_of_reach(then: Mount, now: Mount) -> str | None:
    """Why what was at `then` can't be looked at now; None where the same file system is mounted there."""
    if now.point != then.point:
        return f"no file system is mounted at {then.point}"
    same = (now.kind, now.root) == (then.kind, then.root)
    # A file system in memory ends when it is unmounted: what was in it is gone.
    if same and (now.file_system == then.file_system or now.kind in IN_MEMORY):
        return None
    return f"another file system is mounted at {then.point}"


def _rows() -> list[tuple[str, str, str]]:
    """Mount point, root and kind; the last of a point first."""
    rows = []
    for line in reversed(MOUNTINFO.read_text(errors="surrogateescape").splitlines()):
        mounted, _, file_system = line.partition(" - ")
        root, point = mounted.split(" ")[3:5]
        rows.append((_plain(point), _plain(root), file_system.split(" ")[0]))
    return rows


def _plain(word: str) -> str:
    """Spaces, tabs, newlines and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _id(point: str) -> str:
    with contextlib.suppress(OSError):
        return f"{os.statvfs(point).f_fsid:x}"
    return ""
