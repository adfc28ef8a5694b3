"""Workspaces and sessions stored at the host, as tar archives, because nodes keep nothing between runs."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Archive

PARTS = "workspace", "session"


class Checkpoints:
    """See backend.Exports."""

    def __init__(self, data: Path):
        self._folder = data / "checkpoints"

    def of(self, task_id: str) -> list[str]:
        """The stored parts of a task."""
        return [part for part in PARTS if self._file(task_id, part).exists()]

    def age_seconds(self, task_id: str) -> float | None:
        """Of the older part; None where nothing is kept."""
        written = [self._file(task_id, part).stat().st_mtime for part in self.of(task_id)]
        return time.time() - min(written) if written else None

    def size_bytes(self, task_id: str) -> int:
        return sum(self._file(task_id, part).stat().st_size for part in self.of(task_id))

    @contextlib.contextmanager
    def opened(self, task_id: str, part: str) -> Iterator[BinaryIO]:
        """Opens a part. Raises FileNotFoundError if it is not stored."""
        with self._file(task_id, part).open("rb") as file:
            yield file

    @contextlib.contextmanager
    def replacing(self, task_id: str, part: str) -> Iterator[IO[bytes]]:
        """Replaces a part atomically: the earlier one stays until the new one is complete and on disk."""
        file = self._file(task_id, part)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = file.with_suffix(".part")
        try:
            with written.open("wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            failpoints.point("checkpoint.written")
            written.replace(file)
        finally:
            written.unlink(missing_ok=True)

    def export(self, task_id: str, part: str) -> Archive:
        return lambda: self.opened(task_id, part)

    def import_(self, task_id: str, part: str, archive: IO[bytes]) -> None:
        with self.replacing(task_id, part) as out:
            shutil.copyfileobj(archive, out)

    def forget_all(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget(self, task_id: str) -> None:
        shutil.rmtree(self._folder / task_id, ignore_errors=True)

    def _file(self, task_id: str, part: str) -> Path:
        if part not in PARTS:
            raise ValueError(f"no part of a workspace: {part}")
        return self._folder / task_id / f"{part}.tar"
