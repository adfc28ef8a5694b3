"""The process that started this one."""

import asyncio
import os


async def ended() -> None:
    """Returns when it has ended, also where it was killed; the end of one of its threads is not its end.

    Not by a death signal (prctl(2)): that comes when the thread ends that started this process.
    """
    parent = os.getppid()
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watched, gone.set)
    try:
        if os.getppid() == parent:  # else it ended before it was watched, and another process may have its pid
            await gone.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
