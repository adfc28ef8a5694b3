"""File locks. The kernel releases them when the process that holds them ends."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO, Any

import platformdirs


def wait(file: IO[Any] | int) -> None:
    """Takes the lock. Blocks the thread until it is free."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_take(file: IO[Any] | int, shared: bool = False) -> bool:
    """Takes the lock if it is free. `shared`: for checking whether another process holds it exclusively."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Creates the file and holds its lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        wait(file)
        yield


@contextlib.asynccontextmanager
async def alone(at: str, waits: Callable[[], object] = lambda: None) -> AsyncIterator[None]:
    """Holds a lock of this account, for all its processes. `waits` is called if another process holds it."""
    cache = platformdirs.user_cache_path("agentcontainer")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{at}.lock").open("w") as file:
        if not try_take(file):
            waits()
            while not try_take(file):
                await asyncio.sleep(0.2)
        yield
