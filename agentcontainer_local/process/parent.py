"""The process that started this one."""

import asyncio
import os
import select
import stat
import sys


async def ended() -> None:
    """Returns when it has ended, also where it was killed; the end of one of its threads is not its end.

    Not by a death signal (prctl(2)): that comes when the thread ends that started this process.
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
    """The same, for a thread; and where stdin is a pipe, also when its other end is closed: a shell between the two
    processes would live on. A pipe that is closed from the start says nothing."""
    if (watched := _opened()) is None:
        return
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    if (stdin := _open_pipe()) is not None:
        poll.register(stdin, 0)  # its end is told always
    poll.poll()
    os.close(watched)


def _opened() -> int | None:
    """A descriptor that can be read when the parent has ended; None where it has."""
    parent = os.getppid()
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        return None
    if os.getppid() != parent:  # another process may have its pid
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
