"""A copy of what a run has kept so far, taken while its agent is at work.

The agent may put a link in a file's place at any moment. So tar reads with the agent's own rights, from within the
volume: whatever it is led to, it can read nothing that the agent could not.
"""

import subprocess
from typing import Self

from agentcontainer_local.node.job import VOLUMES

CHANGED = 1  # tar's exit code where a file has changed meanwhile, which it may


class Snapshot:
    def __init__(self, volume: str, uid: int):
        rights = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", "--"]
        tar = ["tar", "--create", "--file=-", "--warning=none", "."]
        self._process = subprocess.Popen(
            [*rights, *tar],
            cwd=VOLUMES / volume / "_data",
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self, size: int) -> bytes:
        """Blocks. Raises OSError where not all could be read."""
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if not data and self._process.wait() not in (0, CHANGED):
            raise OSError("the workspace could not be copied")
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()
