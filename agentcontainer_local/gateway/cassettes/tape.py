"""A recording in progress: calls are appended, and the file gets its final name when the task has ended."""

import contextlib
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from agentcontainer_local.gateway.cassettes import bodies, text
from agentcontainer_local.gateway.cassettes.document import Answer, Call, Head, Request

log = logging.getLogger(__name__)

COMMENT = "# Model calls of one task, recorded with `agentcontainer serve --record`; `--replay` answers from them.\n"


@dataclass
class Tape:
    """Only `path` and `open_calls` may be used outside of the writing thread.

    Until its end the file's name is `NAME.TASK.partial`, so a killed server does not damage an earlier recording.
    """

    path: Path
    task_id: str
    head: Head
    open_calls: int = 0
    _file: TextIO | None = None
    _broken: bool = False
    # the last body, by path and model
    _before: dict[tuple[str, Any], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _count: int = 0

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.{self.task_id}.partial")

    def add(self, path: str, headers: dict[str, str], body: dict[str, Any], answer: Answer) -> None:
        """Appends a call. A full disk ends the recording, but not the task."""
        if self._broken:
            return
        call = Call(request=self._request(path, headers, body), answer=answer)
        try:
            if self._file is None:
                self._file = self._partial.open("w", encoding="utf-8")
                self._file.write(COMMENT + text.write(_written(self.head)) + "calls:\n")
            self._file.write(text.write([_written(call)]))
            self._file.flush()
        except OSError as error:
            self._stop(error)

    def _request(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Request:
        self._count += 1
        kind = path, body.get("model")
        number, before = self._before.get(kind, (0, {}))
        change = bodies.change(number, before, body) if number else None
        self._before[kind] = self._count, body
        return Request(path=path, headers=headers, body=None if change else body, change=change)

    def end(self, status: str) -> None:
        """Completes the recording. It replaces an earlier one of the same name."""
        if self._file is None or self._broken:
            return
        try:
            with self._file as file:
                file.write(text.write({"ended": status}))
                file.flush()
                os.fsync(file.fileno())
            self._partial.replace(self.path)
        except OSError as error:
            self._stop(error)
        else:
            log.info("recorded task=%s into %s", self.task_id, self.path)

    def leave(self) -> None:
        """Closes the file without completing it, because the task has not ended."""
        if self._file is not None:
            self._file.close()
            log.warning("the recording of task=%s is incomplete: %s", self.task_id, self._partial)

    def spoil(self) -> None:
        """Marks the recording as unusable, because a call is missing."""
        self._broken = True
        if self._file is not None:
            with contextlib.suppress(OSError):  # closing tries again to write
                self._file.close()

    def _stop(self, error: OSError) -> None:
        if not self._broken:
            log.error("the recording of task=%s was stopped: %s: %s", self.task_id, self._partial, error.strerror)
        self.spoil()


def _written(shape: Head | Call) -> dict[str, Any]:
    return shape.model_dump(exclude_defaults=True)
