"""Processors of a container where no cgroup shares them out: whole ones, by affinity."""

import contextlib
import math
import os


def confine(pid: int, cpus: float) -> None:
    """Keep a process, and all that it will start, to so many processors; call it before it starts any.

    We may, as its user namespace is ours. A program that asks the kernel for more gets them: the watchdog takes them
    away again.
    """
    ours = sorted(os.sched_getaffinity(0))
    first, many = pid % len(ours), min(len(ours), math.ceil(cpus))
    os.sched_setaffinity(pid, {ours[(first + i) % len(ours)] for i in range(many)})


def confine_again(init: int, pids: list[int]) -> None:
    """Take processors away that these processes have, and the first one of their container has not."""
    with contextlib.suppress(ProcessLookupError):
        allowed = os.sched_getaffinity(init)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.sched_getaffinity(pid) - allowed:
                    os.sched_setaffinity(pid, allowed)
