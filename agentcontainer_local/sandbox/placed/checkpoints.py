"""Workspaces and sessions stored at the host, as tar archives, because nodes keep nothing between runs."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from agentcontainer_local.process import failpoints

PARTS = "workspace", "session"


class Checkpoints:
    def __init__(self, data: Path):
        self._folder = data / "checkpoints"

    def of(self, task_id: str) -> list[str]:
        """The stored parts of a task."""
        return [part for part in PARTS if self._file(task_id, part).exists()]

    def tasks(self) -> set[str]:
        return {folder.name for folder in self._folder.glob("*") if folder.is_dir()}

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

    def forget(self, task_id: str) -> None:
        shutil.rmtree(self._folder / task_id, ignore_errors=True)

    def _file(self, task_id: str, part: str) -> Path:
        if part not in PARTS:
            raise ValueError(f"no part of a workspace: {part}")
        return self._folder / task_id / f"{part}.tar"
