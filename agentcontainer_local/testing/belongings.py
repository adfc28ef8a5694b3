"""What a server for tests has beside its process: removed at its end, and also where its process is killed."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from agentcontainer_local.process.afterwards import Afterwards

MEMORY = "/dev/shm"
ENOUGH_BYTES = 1024**3  # a container of Docker's has 64 MB


class Belongings:
    """A directory for stores, and what these have elsewhere."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agentcontainer-test-", dir=_parent()))
        self._removal: list[str] | None = None
        try:
            self._afterwards = [Afterwards(["rm", "-rf", "--", str(self.folder)])]
        except BaseException:
            self.folder.rmdir()
            raise

    def add(self, removal: list[str] | None) -> None:
        """A command that removes what the stores have elsewhere: before they have something there. The same again, as
        after a reset: nothing."""
        if removal is not None and self._removal is None:
            self._removal = removal
            self._afterwards.append(Afterwards(removal))

    def remove(self) -> None:
        """Once the stores are closed. A second time: nothing."""
        if self._removal is not None:
            subprocess.run(self._removal, cwd="/", stdin=subprocess.DEVNULL, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        for afterwards in self._afterwards:
            afterwards.dismiss()


def _parent() -> str | None:
    """In memory, where making and removing a directory takes no time, if there is room; else, and where TMPDIR is set,
    the usual place."""
    with contextlib.suppress(OSError):
        if "TMPDIR" not in os.environ and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES and os.access(MEMORY, os.W_OK):
            return MEMORY
    return None
