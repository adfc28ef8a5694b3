"""Reports immediately when the kernel kills a process of a container for exceeding its cgroup's memory limit."""

import asyncio
import contextlib
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from agentcontainer_local.sandbox.podman import memory_usage


@contextlib.contextmanager
def heard(init: int, tell: Callable[[], None]) -> Iterator[None]:
    """Calls `tell` at each such kill while open, by poll(2) on a file of cgroup v2. Never, if that is missing."""
    try:
        events = memory_usage.memory_events(Path(f"/proc/{init}/cgroup").read_text())
        counts = events and events.open()
    except OSError:
        counts = None
    if not counts:
        yield
        return
    loop = asyncio.get_running_loop()
    with counts, select.epoll() as changes:
        changes.register(counts, select.EPOLLPRI)
        loop.add_reader(changes.fileno(), _look, loop, changes, counts, tell)
        try:
            yield
        finally:
            loop.remove_reader(changes.fileno())


def _look(loop: asyncio.AbstractEventLoop, changes: select.epoll, counts: IO[str], tell: Callable[[], None]) -> None:
    """Reads the counts. Reading also resets the event until the next change."""
    try:
        counts.seek(0)
        if memory_usage.oom_kill(counts.read()):
            tell()
    except OSError:  # the cgroup is gone; its file would stay readable for ever
        loop.remove_reader(changes.fileno())
