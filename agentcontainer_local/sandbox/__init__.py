"""Containers, volumes and images of one store, by rootless Podman; nothing else here knows Podman."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agentcontainer_local.sandbox.containers import STORE, Containers
from agentcontainer_local.sandbox.errors import ImageMissing, Refusal, SandboxError, Unavailable, Unwalled
from agentcontainer_local.sandbox.images import Images
from agentcontainer_local.sandbox.libpod import Libpod
from agentcontainer_local.sandbox.service import Service
from agentcontainer_local.sandbox.spec import (
    Bind,
    ContainerSpec,
    Created,
    Found,
    Image,
    Mounted,
    State,
    Ulimits,
    Volume,
)
from agentcontainer_local.sandbox.volumes import Volumes

__all__ = [
    "STORE", "Bind", "ContainerSpec", "Created", "Found", "Image", "ImageMissing", "Mounted", "Refusal", "Sandbox",
    "SandboxError", "State", "Ulimits", "Unavailable", "Unwalled", "Volume", "open",
]  # fmt: skip


class Sandbox(Containers, Volumes, Images):
    """What a server may do with Podman. It finds only what carries its store's label; images are everybody's."""


@asynccontextmanager
async def open(
    runtime_dir: Path, store_id: str, podman_socket: str | None = None, oci_runtime: str | None = None
) -> AsyncIterator[Sandbox]:
    """A sandbox that answers; Podman's service is started in `runtime_dir` unless `podman_socket` names one.

    Closing it ends that service; containers live on. One server at a time for one `runtime_dir`.
    """
    service = Service(runtime_dir, podman_socket, oci_runtime)
    await service.prepare()
    api = Libpod(service)
    try:
        yield Sandbox(api, store_id)
    finally:
        api.close()
        await service.close()
