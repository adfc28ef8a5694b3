"""The lock of a data directory: one server for each store. The lock file has the server's address for its owner."""

import contextlib
import logging
import os
import pwd
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from agentcontainer_local.process import file_lock

log = logging.getLogger(__name__)

RESTORING = "restoring"  # exists while a restore is in progress or after one was interrupted
NAMES = ("lock", RESTORING)
OURS = (*NAMES, "agentcontainer.db*", "secret.*", "files")
PATIENCE_SECONDS = 1.0  # a program that only checks the lock holds it for a moment


@dataclass(frozen=True)
class Served:
    """A data directory's server. `key`: the owner's, valid while the server runs; empty for an older server."""

    url: str
    key: str = field(repr=False)


@contextlib.contextmanager
def held(data: Path) -> Iterator[Callable[[Served], None]]:
    """Holds the data directory's lock. Creates the directory if needed. Yields a function that records the server's
    address.

    Only the owner, who can read the store and its secrets anyway, can read the record. Raises RuntimeError if another
    server has the directory, or if this account can't write there.
    """
    with _taken(data) as file:
        file.truncate(0)
        _close_to_others(data)

        def announce(served: Served) -> None:
            file.write(f"{served.url}\n{served.key}\n")
            file.flush()

        try:
            yield announce
        finally:
            file.truncate(0)


def _taken(data: Path) -> TextIO:
    while True:
        file = _opened(data)
        try:
            _take(file, data)
            if os.path.samestat(os.fstat(file.fileno()), (data / "lock").stat()):
                return file
        except FileNotFoundError:  # the previous holder has removed it
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _opened(data: Path) -> TextIO:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+")
    except PermissionError:
        who = pwd.getpwuid(os.geteuid()).pw_name
        raise RuntimeError(
            f"{data} can't be written by the account {who}. Name another data directory with --data,"
            " or change its owner (chown)."
        ) from None


def _take(file: TextIO, data: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file_lock.try_take(file):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Another agentcontainer serves the data directory {data}.")
        time.sleep(0.05)


def _close_to_others(data: Path) -> None:
    """Sets modes 0700 and 0600 on our files and directories, including those of earlier versions and of `mkdir`."""
    ours = [path for pattern in OURS for path in data.glob(pattern)]
    within = (Path(folder, name) for folder, folders, names in os.walk(data / "files") for name in (*folders, *names))
    for path in (data, *ours, *within):
        found = path.lstat().st_mode
        if found & 0o077 and not stat.S_ISLNK(found):
            try:
                path.chmod(found & 0o700)
            except PermissionError:
                log.warning("readable by other accounts; this account can't change its mode: %s", path)


def mark_restoring(data: Path) -> None:
    (data / RESTORING).touch(0o600)


def was_restoring(data: Path) -> bool:
    return (data / RESTORING).exists()


def unmark_restoring(data: Path) -> None:
    (data / RESTORING).unlink()


def remove(data: Path) -> None:
    """Removes the lock files of a directory that stayed empty. Only the holder may call it."""
    for name in NAMES:
        (data / name).unlink(missing_ok=True)


def holder(data: Path) -> Served | None:
    """The server that holds the directory; None if there is none, or if it has not recorded its address yet."""
    try:
        with (data / "lock").open() as file:
            if not file_lock.try_take(file, shared=True):
                url, key, *_ = [*file.read().splitlines(), "", ""]
                return Served(url, key) if url else None
    except FileNotFoundError:
        pass
    return None
