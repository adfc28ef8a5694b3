"""Images for runs: each is found, built or pulled once for all tasks that wait for it."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from agentcontainer_local.sandbox.backend import ImageChoice, Say
from agentcontainer_local.sandbox.podman import Sandbox, SandboxError, Unavailable, standard_images, writable_images
from agentcontainer_local.sandbox.podman.progress import Progress

log = logging.getLogger(__name__)


class Prepared:
    def __init__(self, sandbox: Sandbox, runtime: Path):
        self._sandbox = sandbox
        self._runtime = runtime
        self._progress = Progress()
        # The names found last. Asking Podman twice would cost each task's start a hundredth of a second.
        self._names: dict[ImageChoice, str] = {}
        self._work: dict[ImageChoice, asyncio.Task[str]] = {}

    async def ensure(self, choice: ImageChoice, say: Say) -> str:
        """Makes the image available and returns its name. Cancelling one waiter does not stop the work for others."""
        if not choice.writable_paths and choice in self._names:
            return self._names[choice]
        with self._progress.heard(_name_of(choice), say):
            return await asyncio.shield(self._shared(choice))

    def known(self, choice: ImageChoice) -> str | None:
        """The last result of `ensure`, or None."""
        return self._names.get(choice)

    def forget(self) -> None:
        """Clears the cache: an image was removed, so others may be, too."""
        self._names.clear()

    async def close(self) -> None:
        """Cancels builds and pulls, and cleans up after them."""
        for work in (under_way := list(self._work.values())):
            work.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _shared(self, choice: ImageChoice) -> asyncio.Task[str]:
        if choice not in self._work:
            work = self._work[choice] = asyncio.create_task(self._opened(choice), name=f"image {_name_of(choice)}")
            work.add_done_callback(lambda done: self._done(choice, done))
        return self._work[choice]

    def _done(self, choice: ImageChoice, work: asyncio.Task[str]) -> None:
        del self._work[choice]
        if not work.cancelled():
            work.exception()  # marks the error as retrieved; every waiter gets it through its own await

    async def _opened(self, choice: ImageChoice) -> str:
        name = await self._found(base := replace(choice, writable_paths=()))
        if paths := list(choice.writable_paths):
            image = await self._sandbox.image(name)  # not cached: another image may have this name by now
            if image is None:
                self._names.pop(base, None)
                return await self._opened(choice)

            def say(words: str) -> None:
                self._progress.says(_name_of(choice), words)

            name = await writable_images.ensure(self._sandbox, image, paths, self._runtime, say)
        self._names[choice] = name
        return name

    async def _found(self, base: ImageChoice) -> str:
        if base not in self._names:
            self._names[base] = await (self._standard(base) if base.preset is not None else self._pulled(base))
        return self._names[base]

    async def _standard(self, base: ImageChoice) -> str:
        return await standard_images.ensure(self._sandbox, _name_of(base), self._progress.built)

    async def _pulled(self, base: ImageChoice) -> str:
        image = _name_of(base)
        if await self._sandbox.image_id(image) is None:
            self._progress.says(image, f"Pulling image {image}")
            try:
                await self._sandbox.pull(image, log.info)
            except SandboxError as error:
                kind = Unavailable if isinstance(error, Unavailable) else SandboxError
                raise kind(f"The image {image} can't be had: {error}") from None
        return image


def _name_of(choice: ImageChoice) -> str:
    """The folder of a standard image, or the reference that the account gave."""
    return (choice.reference or "") if choice.preset is None else standard_images.BY_PRESET[choice.preset]
