"""Tasks that wait for their image, and the progress of that."""

from collections.abc import Iterator
from contextlib import contextmanager


class Preparing:
    """In memory only: the next server's progress messages replace it."""

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
        """What a task waits for, such as `Building image documents, step 3 of 4`. None if it waits for no image."""
        return self._words.get(task_id)
