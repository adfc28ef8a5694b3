"""The images that this program has made on this machine: list, build in advance, and remove the unused ones."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agentcontainer_local.process import runtime_directory
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.backend import KeptImage, Say
from agentcontainer_local.sandbox.podman import Sandbox, SandboxError, prune, standard_images


class PodmanImages:
    """See backend.Images."""

    def __init__(self, sandbox: Sandbox):
        self._sandbox = sandbox

    async def found(self) -> list[KeptImage]:
        bases = (standard_images.REGISTRY_BASE, standard_images.made_base())
        folders = standard_images.BY_PRESET.values()
        current = {bases[1]} | {standard_images.tag_of(folder, base) for folder in folders for base in bases}
        return [
            KeptImage(_name_of(image), tag, image.id[:12], image.size_bytes, tag in current)
            for image in await self._sandbox.images(standard_images.LABEL)
            for tag in image.names
            if prune.ours(image, tag)
        ]

    async def build(self, name: str, say: Say) -> str:
        return await standard_images.ensure(self._sandbox, standard_images.BY_PRESET.get(name, name), say)

    async def prune(self, data: Path, warn: Callable[[str], None]) -> list[tuple[KeptImage, str | None]]:
        versions = prune.definitions(data, warn)
        named = {id[:12] for id in await prune.named(self._sandbox, versions)}
        found = [
            KeptImage("writable", tag, image.id[:12], image.size_bytes, current=False)
            for tag, image in await prune.unused_writable_images(self._sandbox, versions)
        ]
        found += [image for image in await self.found() if not image.current]
        return [(image, await self._kept(image, named)) for image in found]

    async def _kept(self, image: KeptImage, named: set[str]) -> str | None:
        """Removes the image, or returns why it is kept."""
        if image.id in named:
            return "a container definition names it"
        try:
            await self._sandbox.remove_image(image.tag)
        except SandboxError as error:
            return str(error)
        return None


@asynccontextmanager
async def open() -> AsyncIterator[PodmanImages]:
    """Starts a Podman service for this command."""
    with runtime_directory.for_a_while() as folder:
        async with podman.open(Path(folder), "images") as sandbox:
            yield PodmanImages(sandbox)


def _name_of(image: podman.Image) -> str:
    """The preset that uses the image, else its folder."""
    folder = image.labels[standard_images.LABEL]
    return next((preset for preset, its in standard_images.BY_PRESET.items() if its == folder), folder)
