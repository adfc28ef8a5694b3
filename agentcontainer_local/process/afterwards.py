"""Runs a command when this process has ended, in whatever way, including SIGKILL and the end of its process group.

A shell in another session waits on a pipe that this process holds open. It needs no privileges and one megabyte of
memory. When the process ends, the kernel closes the pipe.
"""

import contextlib
import os
import subprocess
import weakref
from collections.abc import Sequence

# A word on the pipe means "no longer needed". The shell ignores signals, and so does the command that it starts.
WAIT = 'trap "" HUP INT QUIT TERM; read -r word; [ "$word" = dismissed ] || exec "$@"'


class Afterwards:
    """Runs `command` if this process ends before `dismiss`. The command runs in `/`, without input and output."""

    def __init__(self, command: Sequence[str]):
        self._owner = os.getpid()
        reading, self._pipe = os.pipe()
        try:
            self._waiting = subprocess.Popen(
                ["/bin/sh", "-c", WAIT, "sh", *command],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)
        # A forked child that does not exec would keep the pipe open for its lifetime.
        close_pipe = weakref.WeakMethod(self._close_pipe)
        os.register_at_fork(after_in_child=lambda: (mine := close_pipe()) and mine())

    def dismiss(self) -> None:
        """Cancels the command. Does nothing when called again."""
        if self._pipe < 0 or os.getpid() != self._owner:
            return
        with contextlib.suppress(BrokenPipeError):  # the shell was killed
            os.write(self._pipe, b"dismissed\n")
        self._close_pipe()
        self._waiting.wait()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
