"""A test that takes too long fails, and says what everybody did then; what it had open is closed, and the rest goes on.

pytest-timeout says how long that is, and would end a test itself, but not where an event loop runs.
"""

import asyncio
import contextlib
import faulthandler
import gc
import io
import signal
import sys
import threading
import traceback
from collections.abc import Generator

import pytest

SECONDS = pytest.StashKey[float]()
HUNG = pytest.StashKey[bool]()
EXIT_SECONDS = 60


class TooLong(pytest.fail.Exception, SystemExit):
    """A failure, after which pytest closes the rest, and what uvloop lets out: else it would report it, and wait."""


def pytest_timeout_set_timer(item: pytest.Item, settings) -> bool:
    item.stash[SECONDS] = settings.timeout
    return True


def pytest_timeout_cancel_timer(item: pytest.Item) -> bool:
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def _limited(item: pytest.Item) -> Generator[None, object, object]:
    """To open, to run and to close a test take that long each; whoever keeps TooLong to himself is told again."""
    seconds = item.stash.get(SECONDS, 0)

    def too_long(*_) -> None:
        item.session.stash[HUNG] = True
        raise TooLong(f"{item.nodeid} takes longer than {seconds:g} s\n{_stacks()}")

    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if HUNG in item.session.stash:
            # What a hung test has left complains when it is cleared away. Amid a report, that breaks Python 3.11.2:
            # https://github.com/python/cpython/issues/106905
            gc.collect()


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _limited


def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that never ends would keep Python from ending. Workers wait for each other, and xdist ends them."""
    if not hasattr(config, "workerinput"):
        faulthandler.dump_traceback_later(EXIT_SECONDS, exit=True)


def _stacks() -> str:
    """Of the other threads, and of what awaits something; the failure has the main thread's own."""
    said = io.StringIO()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and (frame := sys._current_frames().get(thread.ident)):
            said.write(f"Thread {thread.name}:\n{''.join(traceback.format_stack(frame))}")
    loop = asyncio._get_running_loop()
    for task in asyncio.all_tasks(loop) if loop else ():
        with contextlib.suppress(Exception):  # uvloop's own have no stack that can be shown
            task.print_stack(file=said)
    return said.getvalue()
