"""Hears at once when the kernel ends something of a container for its cgroup's memory limit."""

import asyncio
import contextlib
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from agentcontainer_local.sandbox.podman import memory_usage


@contextlib.contextmanager
def heard(init: int, tell: Callable[[], None]) -> Iterator[None]:
    """cgroup v2 has files that poll(2) waits for; where there is no such file, nothing is heard."""
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
    """Reading the file is what makes it quiet until it changes again."""
    try:
        counts.seek(0)
        if memory_usage.oom_kill(counts.read()):
            tell()
    except OSError:  # the cgroup is gone; its file would be ready for ever
        loop.remove_reader(changes.fileno())
