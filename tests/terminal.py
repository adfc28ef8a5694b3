"""A command on a real terminal: what it shows there, and what happens when somebody types."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

COMMAND = [sys.executable, "-m", "agentcontainer_local"]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A command on a terminal of 80 columns, typed at and read from. `raw`: all that it was sent."""

    def __init__(self, *command: str, env: dict[str, str], cwd: Path):
        self._end, its_end = pty.openpty()
        fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        self.process = subprocess.Popen(
            command,
            env={**env, "TERM": "xterm-256color"},
            cwd=cwd,
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
            preexec_fn=_controlling,
        )
        os.close(its_end)
        self.text = self.raw = ""

    def until(self, words: str, seconds: float = 60) -> str:
        """What was shown since the last time, up to and with `words`."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text[-2000:]
            self._read(0.2)
        before, _, self.text = self.text.partition(words)
        return before + words

    def type(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def ends(self, seconds: float = 60) -> int:
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.text[-2000:]
            self._read(0.1)
        self._read(0.1)
        return self.process.returncode

    def _read(self, seconds: float) -> None:
        if select.select([self._end], [], [], seconds)[0]:
            try:
                came = os.read(self._end, 65536).decode(errors="replace")
                self.raw += came
                self.text = ESCAPE.sub("", self.text + came)
            except OSError:
                time.sleep(0.05)  # its end is closed

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._end)


def _controlling() -> None:
    """Makes the terminal the session's own, so that Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextlib.contextmanager
def terminal(*words: str, env: dict[str, str], cwd: Path, command: list[str] = COMMAND) -> Iterator[Terminal]:
    shown = Terminal(*command, *words, env=env, cwd=cwd)
    try:
        yield shown
    finally:
        shown.close()
