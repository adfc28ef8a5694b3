"""stdin, stdout and stderr when something is wrong with them: closed, a broken pipe, a full disk."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from agentcontainer_local.cli.exits import Exit


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Around the whole command: what cannot be written ends it with one line on stderr and a code, not a traceback."""
    open_missing()
    try:
        yield
        ending = None
    except SystemExit as error:
        ending = error
    except OSError as error:
        if error.filename is not None:
            raise
        ending = SystemExit(failed(error))
    if problem := _flushed():
        raise SystemExit(problem)
    if ending is not None:
        raise ending


def open_missing() -> None:
    """A closed stream's number would be given to the next file that is opened, which would then get its text.

    What reads finds the end at once, and writing fails with EBADF, as it would in a program that looked at nothing.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _flushed() -> int:
    """The exit code if what was printed could not be written, else 0."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return failed(error)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return 0


def failed(error: OSError) -> int:
    """Says that stdout cannot be written, once; a reader that has gone away (`| head`) needs no words."""
    give_up(sys.stdout, 1)
    if error.errno != errno.EPIPE:
        with contextlib.suppress(OSError):
            print(f"agentcontainer: stdout: {error.strerror}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return int(Exit.FAILED)


def give_up(stream: TextIO, number: int) -> None:
    """What is buffered would be tried again at our end, and that would be the last word."""
    with contextlib.suppress(OSError, ValueError):
        if stream.fileno() == number:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, number)
            os.close(nothing)
