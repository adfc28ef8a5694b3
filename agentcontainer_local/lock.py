"""The lock of a data directory: one store, one server; and where that server is, for who may read it."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_SECONDS = 1.0      # who only looks whether the lock is held takes it for a moment


@contextlib.contextmanager
def held(data: Path) -> Iterator[Callable[[str], None]]:
    """Makes the directory if need be, and keeps others out; hands over how to say at which URL it is served.

    Raises RuntimeError where another server has it.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data / "lock").open("a+") as file:
        _take(file, data)
        file.truncate(0)

        def announce(url: str) -> None:
            file.write(url + "\n")
            file.flush()

        yield announce


def _take(file, data: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Another agentcontainer serves the data directory {data}.") from None
            time.sleep(0.05)


def holder(data: Path) -> str | None:
    """The URL of the server that has the directory; None where there is none, or not yet."""
    try:
        with (data / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or None
    except FileNotFoundError:
        pass
    return None
