"""How full the disks are: new work is refused while there still is room for what is at work."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from agentcontainer_local.errors import Unavailable

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
MOST_KEPT_BYTES = 512 * 1024**2


def free_percent(place: Path) -> float:
    """Of the file system that `place` is on, what an ordinary user may still take."""
    found = os.statvfs(place)
    return 100 * found.f_bavail / max(1, found.f_blocks)


def is_full(place: Path) -> bool:
    """A database needs more than that to open."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize < 1024**2


def room(place: Path) -> int:
    """Bytes that files may still take there: a hundredth of the disk, but not more than needed, is the database's."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize - min(found.f_blocks * found.f_frsize // 100, MOST_KEPT_BYTES)


def fullest(places: Iterable[Path]) -> tuple[Path, float]:
    """The one with the least room; places that do not exist yet do not count."""
    found = []
    for place in places:
        try:
            found.append((free_percent(place), place))
        except FileNotFoundError:
            continue
    free, place = min(found)
    return place, free


def check(places: Iterable[Path], least_percent: float) -> None:
    """Raises Unavailable, which says what to do, when one of them has less than `least_percent` left."""
    place, free = fullest(places)
    if free < least_percent:
        raise Unavailable(
            f"The disk of {place} is nearly full: {free:.1f} % are free. New work needs {least_percent:g} %"
            " on. Remove files, or lower the setting min_free_percent."
        )
