"""Locks on files. The kernel releases them with the process that holds them, however it ends."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

import platformdirs


def wait(file: IO[Any] | int) -> None:
    """Until it is ours; blocks the thread."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_take(file: IO[Any] | int, shared: bool = False) -> bool:
    """At once, or not at all. `shared`: only to see whether somebody else holds it alone."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Makes the file, waits for its lock, and holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        wait(file)
        yield


@contextlib.asynccontextmanager
async def alone(at: str, waits: Callable[[], object] = lambda: None) -> AsyncIterator[None]:
    """One at a time for this account, in whatever process. `waits` is called first if another one is at it."""
    cache = platformdirs.user_cache_path("agentcontainer")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{at}.lock").open("w") as file:
        if not try_take(file):
            waits()
            while not try_take(file):
                await asyncio.sleep(0.2)
        yield
