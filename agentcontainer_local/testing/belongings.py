"""What a server for tests has beside its process: removed at its end, and also where its process is killed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from agentcontainer_local.process.afterwards import Afterwards


class Belongings:
    """A directory for stores, and what these have elsewhere."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="agentcontainer-test-"))
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
