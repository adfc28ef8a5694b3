"""One at a time for this account, whoever asks, in whatever process: what would disturb another, or be done twice."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Callable
from typing import IO

import platformdirs


@contextlib.asynccontextmanager
async def alone(at: str, waits: Callable[[], object] = lambda: None) -> AsyncIterator[None]:
    """`waits` is called if somebody else is at it; who was killed is at nothing."""
    cache = platformdirs.user_cache_path("agentcontainer")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{at}.lock").open("w") as lock:
        if not _taken(lock):
            waits()
            while not _taken(lock):
                await asyncio.sleep(0.2)
        yield


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
