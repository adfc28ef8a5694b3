"""Free disk space. New work is refused early, so that space is left for running work."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.errors import Unavailable
from agentcontainer_local.process import failpoints

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
MAX_RESERVED_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class Disk:
    """`name`: for messages. `free_bytes`: free for ordinary users."""

    name: str
    size_bytes: int
    free_bytes: int

    @property
    def free_percent(self) -> float:
        return 100 * self.free_bytes / max(1, self.size_bytes)


def of(place: Path) -> Disk:
    """The disk of `place`. Raises FileNotFoundError if `place` does not exist."""
    found = os.statvfs(place)
    free = 0 if _counts_as_full(place) else found.f_bavail * found.f_frsize
    return Disk(str(place), found.f_blocks * found.f_frsize, free)


def _counts_as_full(place: Path) -> bool:
    return any(place.is_relative_to(full) for full in failpoints.FULL_DISKS)


def free_percent(place: Path) -> float:
    return of(place).free_percent


def is_full(place: Path) -> bool:
    """Whether there is too little space to open a database."""
    return of(place).free_bytes < 1024**2


def room(place: Path) -> int:
    """The bytes that files may still use. Part of the disk, up to MAX_RESERVED_BYTES, is for the database."""
    disk = of(place)
    return disk.free_bytes - min(disk.size_bytes // 100, MAX_RESERVED_BYTES)


def check(disks: Iterable[Disk], least_percent: float) -> None:
    """Raises Unavailable, with the remedy, if one of the disks has less than `least_percent` free."""
    fullest = min(disks, key=lambda disk: disk.free_percent)
    if fullest.free_percent < least_percent:
        raise Unavailable(
            f"The disk of {fullest.name} is nearly full: {fullest.free_percent:.1f} % are free. New work needs"
            f" {least_percent:g} % on. Remove files, or lower the setting min_free_percent."
        )
