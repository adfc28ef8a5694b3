"""Limits a container to whole processors by CPU affinity, where no cgroup can limit its CPU time."""

import contextlib
import math
import os
from collections.abc import Iterable


def confine(init: int, cpus: float, pids: Iterable[int]) -> None:
    """Limits these processes of a container, and all that they start later, to its processors.

    `init`: the container's first process. The server may do this because it owns the container's user namespace. A
    program can ask the kernel for more processors, so this is repeated regularly.
    """
    allowed = _share(init, cpus)
    for thread in (thread for pid in pids for thread in _threads(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.sched_getaffinity(thread) - allowed:
                os.sched_setaffinity(thread, allowed)


def _share(init: int, cpus: float) -> set[int]:
    """The processors of this container: the same ones at each call. Other containers start at other processors."""
    ours = sorted(os.sched_getaffinity(0))
    return {ours[(init + i) % len(ours)] for i in range(min(len(ours), math.ceil(cpus)))}


def _threads(pid: int) -> list[int]:
    """The threads of a process. Each has its own affinity."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []
