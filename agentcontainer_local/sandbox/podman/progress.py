"""Progress of building or pulling an image, passed on to every task that waits for it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agentcontainer_local.sandbox.backend import Say
from agentcontainer_local.sandbox.podman import standard_images

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Waiting:
    image: str
    say: Say
    heard: str | None = None  # the last line that it was given


class Progress:
    def __init__(self) -> None:
        self._waiting: set[_Waiting] = set()
        self._words: dict[str, str] = {}  # the last line, by image

    @contextmanager
    def heard(self, image: str, say: Say) -> Iterator[None]:
        """While open, `say` gets the progress of that image, starting with the present state."""
        waiting = _Waiting(image, say)
        self._waiting.add(waiting)
        self._tell(waiting)
        try:
            yield
        finally:
            self._waiting.discard(waiting)
            for name in _with_parents(image):
                self._words.pop(name, None)

    def says(self, image: str, words: str) -> None:
        self._words[image] = words
        for waiting in list(self._waiting):
            self._tell(waiting)

    def built(self, line: str) -> None:
        """Processes a line of a build's output."""
        log.info(line)
        if told := standard_images.told(line):
            self.says(*told)

    def _tell(self, waiting: _Waiting) -> None:
        words = next((self._words[name] for name in _with_parents(waiting.image) if name in self._words), None)
        if words not in (None, waiting.heard):
            waiting.heard = words
            waiting.say(words)


def _with_parents(image: str | None) -> Iterator[str]:
    """The image, then the standard images that it is built on."""
    while image is not None:
        yield image
        image = standard_images.parent_of(image) if image in standard_images.BY_PRESET.values() else None
