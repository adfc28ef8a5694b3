"""File systems of paths. They distinguish a disk that is not mounted from a directory that was deleted."""

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")  # proc(5)
IN_MEMORY = ("tmpfs", "ramfs")


class Mount(NamedTuple):
    point: str
    root: str  # the mounted directory of the file system; "/" except for bind mounts and subvolumes
    kind: str  # such as ext4 or tmpfs
    file_system: str  # its id from statvfs(3); for most kinds it stays the same after a reboot

    def text(self) -> str:
        return "\t".join((self.kind, self.file_system, self.root, self.point))

    @classmethod
    def parsed(cls, text: str) -> "Mount":
        kind, file_system, root, point = text.split("\t")
        return cls(point, root, kind, file_system)


def of(path: Path) -> Mount:
    """The mount of an absolute path. The path need not exist, and symbolic links are not followed."""
    above = {str(folder) for folder in (path, *path.parents)}
    found = [row for row in _rows() if row[0] in above]
    # of several mounts at one point, the last one is visible
    point, root, kind = max(found, key=lambda row: len(row[0]))
    return Mount(point, root, kind, _id(point))


def why_out_of_reach(then: Mount, now: Mount) -> str | None:
    """Why the file system of `then` is not accessible now; None if it is mounted there."""
    if now.point != then.point:
        return f"no file system is mounted at {then.point}"
    same = (now.kind, now.root) == (then.kind, then.root)
    # A file system in memory is lost when it is unmounted, so there is nothing to wait for.
    if same and (now.file_system == then.file_system or now.kind in IN_MEMORY):
        return None
    return f"another file system is mounted at {then.point}"


def _rows() -> list[tuple[str, str, str]]:
    """Mount point, root and kind of each mount. For each point, the last mount comes first."""
    rows = []
    for line in reversed(MOUNTINFO.read_text(errors="surrogateescape").splitlines()):
        mounted, _, file_system = line.partition(" - ")
        root, point = mounted.split(" ")[3:5]
        rows.append((_plain(point), _plain(root), file_system.split(" ")[0]))
    return rows


def _plain(word: str) -> str:
    """Decodes spaces, tabs, newlines and backslashes, which are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def _id(point: str) -> str:
    with contextlib.suppress(OSError):
        return f"{os.statvfs(point).f_fsid:x}"
    return ""
