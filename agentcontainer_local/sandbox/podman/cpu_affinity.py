"""Processors of a container where no cgroup shares them out: whole ones, by affinity."""

import contextlib
import math
import os
from collections.abc import Iterable


def confine(init: int, cpus: float, pids: Iterable[int]) -> None:
    """Keep these processes of a container, and all that they will start, to its processors; `init` is its first one.

    We may, as its user namespace is ours. A program that asks the kernel for more gets them: so this is done again and
    again.
    """
    allowed = _share(init, cpus)
    for thread in (thread for pid in pids for thread in _threads(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.sched_getaffinity(thread) - allowed:
                os.sched_setaffinity(thread, allowed)


def _share(init: int, cpus: float) -> set[int]:
    """The same at each call, whatever the container has done meanwhile; other containers begin elsewhere."""
    ours = sorted(os.sched_getaffinity(0))
    return {ours[(init + i) % len(ours)] for i in range(min(len(ours), math.ceil(cpus)))}


def _threads(pid: int) -> list[int]:
    """Each has processors of its own."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []
