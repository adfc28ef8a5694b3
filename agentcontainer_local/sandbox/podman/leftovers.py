"""What stores have in Podman and in run directories: containers and volumes, found by label. Lists and removes them."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from agentcontainer_local.process import account_registry, runtime_directory
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.backend import RUN_DIRECTORY, Leftover
from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.podman import Sandbox, builds, service
from agentcontainer_local.sandbox.podman.containers import written_paths
from agentcontainer_local.sandbox.podman.service import listener

SCRIPT = Path(__file__).with_name("remove_store.sh")


class PodmanLeftovers:
    """See backend.Leftovers."""

    def __init__(self, sandbox: Sandbox):
        self._sandbox = sandbox

    async def found(self, known: Iterable[str]) -> list[Leftover]:
        in_podman = await self._sandbox.stores()
        beside = {store_id for store_id in known if runtime_directory.existing(store_id)}
        return [await self._of(store_id, store_id in in_podman) for store_id in sorted(in_podman | beside)]

    async def sizes(self, store_ids: Sequence[str]) -> list[int]:
        return await self._sandbox.disk_bytes_below(*[await self._paths(store_id) for store_id in store_ids])

    async def remove(self, store_id: str) -> None:
        store = self._sandbox.beside(store_id)
        # most stores have none; the script would take half a second
        if not (await store.found() or await store.volumes()):
            await asyncio.to_thread(shutil.rmtree, runtime_directory.named(store_id), ignore_errors=True)
            return
        words = removal(store_id)
        done = await asyncio.to_thread(
            subprocess.run, words, cwd="/", env=self._sandbox.environment, stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode:
            raise SandboxError(f"{store_id} could not be removed: {done.stderr.decode(errors='replace')[-500:]}")

    async def interrupted_builds(self) -> list[str]:
        return [str(folder) for folder in await asyncio.to_thread(list, builds.interrupted())]

    async def sweep(self) -> list[str]:
        return await self._sandbox.sweep_builds()

    async def _of(self, store_id: str, in_podman: bool) -> Leftover:
        store = self._sandbox.beside(store_id)
        containers = await store.found() if in_podman else []
        volumes = await store.volumes() if in_podman else []
        directory = runtime_directory.existing(store_id)
        parts = {"container": len(containers), "volume": len(volumes), RUN_DIRECTORY: int(directory is not None)}
        made = [container.created_at for container in containers] + [volume.created_at for volume in volumes]
        return Leftover(store_id, parts, max(made, default=None), _user(directory) if directory else None)

    async def _paths(self, store_id: str) -> list[str]:
        store = self._sandbox.beside(store_id)
        layers = [written_paths(await store.inspect(container.id) or {}) for container in await store.found()]
        folders = [volume.folder for volume in await store.volumes()]
        return list({*folders, *(path for paths in layers for path in paths)})


def removal(store_id: str) -> list[str]:
    """The command that removes everything of a store that no server has open. It does not need this program."""
    directory, registry = runtime_directory.named(store_id), account_registry.folder()
    return ["/bin/sh", str(SCRIPT), store_id, str(directory), str(registry)]


@asynccontextmanager
async def open() -> AsyncIterator[PodmanLeftovers]:
    """Starts a Podman service for this command."""
    with runtime_directory.for_a_while() as folder:
        async with podman.open(Path(folder), "leftovers") as sandbox:
            yield PodmanLeftovers(sandbox)


def _user(directory: Path) -> str | None:
    """The server that listens on a socket there, even if its data directory was removed."""
    for socket in (directory / service.SOCKET, *directory.glob("runs/*/*.sock")):
        if (pid := listener(socket)) is not None:
            return f"process {pid}"
    return None
