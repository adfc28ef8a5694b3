"""Tasks that wait for their image, and how far it is."""

from collections.abc import Iterator
from contextlib import contextmanager


class Preparing:
    """In memory only: a server that starts again says it again."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}  # by task

    @contextmanager
    def waiting(self, task_id: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._words.pop(task_id, None)

    def says(self, task_id: str, words: str) -> None:
        self._words[task_id] = words

    def of(self, task_id: str) -> str | None:
        """What a task waits for: `Building image documents, step 3 of 4`. None if it waits for no image."""
        return self._words.get(task_id)
