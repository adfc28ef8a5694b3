"""Opens the placed backend: with the scheduler that the settings name, and with the images of this machine's Podman."""

import contextlib
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

from agentcontainer_local.process import runtime_directory
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.backend import ImageChoice, Say
from agentcontainer_local.sandbox.errors import ImageMissing
from agentcontainer_local.sandbox.placed import backend
from agentcontainer_local.sandbox.placed.images import HostImages, Ready
from agentcontainer_local.sandbox.podman import Sandbox, writable_images
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.scheduler import Scheduler
from agentcontainer_local.scheduler.slurm import Slurm
from agentcontainer_local.settings import Settings


class _Local:
    """See images.Local."""

    def __init__(self, sandbox: Sandbox, prepared: Prepared):
        self._sandbox = sandbox
        self._prepared = prepared

    async def image(self, choice: ImageChoice, say: Say) -> Ready:
        name = await self._prepared.ensure(choice, say)
        id = await self._sandbox.image_id(name)
        if id is None:
            self._prepared.forget()
            raise ImageMissing(f"The image {name} has gone.")
        return Ready(name, id, await writable_images.environment(self._sandbox, name) or {})


@contextlib.asynccontextmanager
async def open(
    settings: Settings, store_id: str, runs: backend.Runs, runtime: Path, scheduler: Scheduler | None = None
) -> AsyncIterator[backend.Placed]:
    """`scheduler`: by default the one that the settings name."""
    directory = runtime_directory.of_store(store_id)
    scheduler = scheduler or Slurm(store_id, shlex.split(settings.scheduler_options))
    socket, oci_runtime = settings.podman_socket, settings.oci_runtime
    async with podman.open(directory, store_id, socket, oci_runtime, patient=True) as sandbox:
        prepared = Prepared(sandbox, runtime)
        images = HostImages(_Local(sandbox, prepared), sandbox.environment)
        try:
            async with backend.open(settings, runs, runtime, scheduler, images) as placed:
                yield placed
        finally:
            await prepared.close()
