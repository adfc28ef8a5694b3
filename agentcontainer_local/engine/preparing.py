"""Images that are being built or pulled, and the tasks that wait for them."""

from collections.abc import Iterator
from contextlib import contextmanager

from agentcontainer_local.sandbox.podman import standard_images


class Preparing:
    """In memory only: a server that starts again says it again."""

    def __init__(self):
        self._image: dict[str, str] = {}  # by task: what it waits for
        self._words: dict[str, str] = {}  # by image: how far it is

    @contextmanager
    def waiting(self, task_id: str, image: str) -> Iterator[None]:
        self._image[task_id] = image
        try:
            yield
        finally:
            del self._image[task_id]
            for name in _with_parents(image):
                self._words.pop(name, None)

    def says(self, image: str, words: str) -> list[str]:
        """Notes how far an image is; answers the tasks for which that is new."""
        before = {task_id: self.of(task_id) for task_id in self._image}
        self._words[image] = words
        return [task_id for task_id, known in before.items() if self.of(task_id) not in (None, known)]

    def of(self, task_id: str) -> str | None:
        """What a task waits for: `Building image documents, step 3 of 4`. None if it waits for no image."""
        image = self._image.get(task_id)
        return next((self._words[name] for name in _with_parents(image) if name in self._words), None)


def _with_parents(image: str | None) -> Iterator[str]:
    """A standard image is built on another one, which is built first."""
    while image is not None:
        yield image
        image = standard_images.parent_of(image) if image in standard_images.BY_PRESET.values() else None
