"""How a container ended: in order, with the machine, or because its agent failed."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from agentcontainer_local.sandbox.backend import Exit
from agentcontainer_local.sandbox.podman import Sandbox

LOOK_SECONDS = 2
LAST_BYTES = 4096
# Exit codes. After SIGTERM the guest exits with 0. A guest that does not handle SIGTERM gives 143; one that is killed
# because it took too long gives 137.
STOPS = (0, 143)
STOPS_UNSEEN = (0, 143, 137, None)


async def followed(sandbox: Sandbox, container: str, pid: int, directory: Path, stopped: Callable[[], bool]) -> Exit:
    """Returns once its first process has ended, or the directory is gone through which its guest reaches us: without
    it the agent would wait until its time is over. `stopped`: whether the backend itself has ended it."""
    exited = asyncio.ensure_future(sandbox.exited(pid))
    removed = asyncio.ensure_future(_removed(directory))
    try:
        await asyncio.wait({exited, removed}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return Exit(died=False) if stopped() else await ended(sandbox, container, STOPS)
        sandbox.kill(pid)  # Podman may have lost its own files with the directory, so it is ended without it
        return Exit(died=False, last_words="The runtime directory was removed.")
    finally:
        for watching in (exited, removed):
            watching.cancel()
        await asyncio.wait({exited, removed})


async def unseen(sandbox: Sandbox, container: str) -> Exit:
    """While nobody looked the guest would have waited to say that Pi had died: whatever else ended it is a stop."""
    return await ended(sandbox, container, STOPS_UNSEEN)


async def ended(sandbox: Sandbox, container: str, stops: tuple[int | None, ...]) -> Exit:
    code = await sandbox.exit_code(container)
    if code in stops:
        return Exit(died=False)
    words = await sandbox.logs_tail(container, LAST_BYTES)
    return Exit(died=True, last_words=words.strip() or f"none; its exit code was {code}.")


async def _removed(directory: Path) -> None:
    """Returns once the directory is gone; one that was made again is another one."""
    with contextlib.suppress(OSError):
        ours = directory.stat().st_ino
        while directory.stat().st_ino == ours:
            await asyncio.sleep(LOOK_SECONDS)
