"""How a container ended: normally, with the machine, or because its agent failed."""

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
    """Returns when the container's first process has ended, or when the directory with the guest's sockets is gone:
    without it the agent would wait until its time limit. `stopped`: whether the backend itself stopped the
    container."""
    exited = asyncio.ensure_future(sandbox.exited(pid))
    removed = asyncio.ensure_future(_removed(directory))
    try:
        await asyncio.wait({exited, removed}, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return Exit(died=False) if stopped() else await ended(sandbox, container, STOPS)
        # Podman may have lost its own files together with the directory, so Podman is not asked to end it
        sandbox.kill(pid)
        return Exit(died=False, last_words="The runtime directory was removed.")
    finally:
        for watching in (exited, removed):
            watching.cancel()
        await asyncio.wait({exited, removed})


async def unseen(sandbox: Sandbox, container: str) -> Exit:
    """The end of a container that no server was watching. The guest would have waited for a server to report Pi's
    death, so codes that mean a kill count as a stop too."""
    return await ended(sandbox, container, STOPS_UNSEEN)


async def ended(sandbox: Sandbox, container: str, stops: tuple[int | None, ...]) -> Exit:
    code = await sandbox.exit_code(container)
    if code in stops:
        return Exit(died=False)
    words = await sandbox.logs_tail(container, LAST_BYTES)
    return Exit(died=True, last_words=words.strip() or f"none; its exit code was {code}.")


async def _removed(directory: Path) -> None:
    """Returns when the directory is gone. A directory that was created again has another inode."""
    with contextlib.suppress(OSError):
        ours = directory.stat().st_ino
        while directory.stat().st_ino == ours:
            await asyncio.sleep(LOOK_SECONDS)
