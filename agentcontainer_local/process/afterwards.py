"""Runs a command once this process has ended, however it ends: by SIGKILL, too, or together with its process group.

A shell in a session of its own waits at the end of a pipe that this process holds open. It needs no rights and a
megabyte of memory, and nobody has to watch anything: the kernel closes the pipe.
"""

import contextlib
import os
import subprocess
import weakref
from collections.abc import Sequence

# The owner's end is told from "no longer needed" by a word. A shell that ignores signals hands that on to the command.
WAIT = 'trap "" HUP INT QUIT TERM; read -r word; [ "$word" = dismissed ] || exec "$@"'


class Afterwards:
    """`command` runs when this process ends before `dismiss`, in `/`, with nothing to read or to write to."""

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
        # A child that is forked without a new program would hold the pipe open as long as it lives.
        let_go = weakref.WeakMethod(self._let_go)
        os.register_at_fork(after_in_child=lambda: (mine := let_go()) and mine())

    def dismiss(self) -> None:
        """The command is no longer needed. A second time: nothing."""
        if self._pipe < 0 or os.getpid() != self._owner:
            return
        with contextlib.suppress(BrokenPipeError):  # somebody has killed the shell
            os.write(self._pipe, b"dismissed\n")
        self._let_go()
        self._waiting.wait()

    def _let_go(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
