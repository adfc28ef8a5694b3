"""Watches the process that started this one."""

import asyncio
import os
import select
import stat
import sys


async def ended() -> None:
    """Returns when the parent process has ended, even by SIGKILL. The end of one of its threads does not count.

    A parent-death signal (prctl(2)) would come at the end of the thread that started this process.
    """
    if (watched := _opened()) is None:
        return
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


def wait_for_end() -> None:
    """Like `ended`, but blocks a thread. If stdin is a pipe, it also returns when its other end is closed, because a
    shell between the two processes may outlive the parent. A pipe that is closed from the start is ignored."""
    if (watched := _opened()) is None:
        return
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    if (stdin := _open_pipe()) is not None:
        poll.register(stdin, 0)  # hang-up is always reported
    poll.poll()
    os.close(watched)


def _opened() -> int | None:
    """A descriptor that becomes readable when the parent ends. None if the parent has ended."""
    parent = os.getppid()
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        return None
    if os.getppid() != parent:  # the pid may belong to another process
        os.close(watched)
        return None
    return watched


def _open_pipe() -> int | None:
    try:
        stdin = sys.stdin.fileno()
        mode = os.fstat(stdin).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return None
    poll = select.poll()
    poll.register(stdin, 0)
    return None if poll.poll(0) else stdin
