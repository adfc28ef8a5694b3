"""Containers, volumes and images of one store, in rootless Podman. No other package uses Podman."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from agentcontainer_local.sandbox.errors import (
    ImageMissing,
    Refusal,
    SandboxError,
    Unavailable,
    Unwalled,
    may_work_later,
)
from agentcontainer_local.sandbox.podman import builds, locks
from agentcontainer_local.sandbox.podman.changed import Changes
from agentcontainer_local.sandbox.podman.containers import CPUS, ENDED, STORE, annotations, at_most, written_paths
from agentcontainer_local.sandbox.podman.libpod import Libpod
from agentcontainer_local.sandbox.podman.service import Service
from agentcontainer_local.sandbox.podman.spec import (
    Bind,
    Broken,
    By,
    Ceiling,
    ContainerSpec,
    Created,
    Found,
    Image,
    Mounted,
    State,
    Ulimits,
    Volume,
)
from agentcontainer_local.sandbox.podman.volumes import Volumes
from agentcontainer_local.sandbox.podman.watchdog import Watchdog

__all__ = [
    "ENDED", "STORE", "Bind", "Broken", "By", "Ceiling", "ContainerSpec", "Created", "Found", "Image", "ImageMissing",
    "Mounted", "Refusal", "Sandbox", "SandboxError", "State", "Ulimits", "Unavailable", "Unwalled", "Volume", "at_most",
    "may_work_later", "open",
]  # fmt: skip

READY_SECONDS = 10


class Sandbox(Changes, Volumes):
    """What a server can do with Podman. It sees only containers with its store's label; images are shared."""

    def __init__(self, api: Libpod, store_id: str, watchdog: Watchdog):
        super().__init__(api, store_id)
        self._watchdog = watchdog

    async def ready(self) -> None:
        """Raises Unavailable, with the reason, if no container could be started now."""
        try:
            await self._api.call(
                "GET",
                "/images/localhost/agentcontainer-ready:0/json",
                expect=(404,),
                patient=True,
                seconds=READY_SECONDS,
            )
        except Unavailable as error:
            held = await asyncio.to_thread(locks.holder, locks.storage())
            if held is None or held in str(error):
                raise
            raise Unavailable(f"{error} Perhaps because {held}: end that process.") from error

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a podman command that works on the same storage."""
        return self._api.service.environment

    async def close(self) -> None:
        await self._gvisor.close()

    @asynccontextmanager
    async def watching(
        self, container: str, pid: int, ceiling: Ceiling, empty: bool = False, found: dict[str, Any] | None = None
    ) -> AsyncIterator[asyncio.Future[Broken]]:
        """While open, the future completes when the container exceeds the ceiling. The caller ends the container.

        `empty`: nothing was written yet to it or its volumes, so the first measurement can wait. `found`: the result of
        `inspect`, if the caller has it.
        """
        started = self._started
        known = started and started["Name"] == container and started["State"]["Pid"] == pid
        if found is None:
            found = started if known else await self.inspect(container) or {}
        noted = annotations(found).get(CPUS)
        cpus = float(noted) if noted else None
        with self._watchdog.watching(pid, ceiling, written_paths(found), cpus, empty) as broken:
            yield broken

    async def disk_bytes(self, container: str) -> int:
        """The bytes that a container and its volumes have written; 0 if there is no such container."""
        found = await self.inspect(container)
        return 0 if found is None else (await self.disk_bytes_below(written_paths(found)))[0]

    async def disk_bytes_below(self, *groups: list[str]) -> list[int]:
        """The bytes below the paths of each group. The files may belong to agents' uids. Raises OSError."""
        return await self._watchdog.disk_bytes(*groups)

    async def stores(self) -> set[str]:
        """The ids of all stores that have a container or a volume in this account's storage."""
        params = {"filters": json.dumps({"label": [STORE]})}
        containers = (await self._api.call("GET", "/containers/json", params={**params, "all": "true"})).body or ()
        volumes = await self.labels_of_all_volumes(STORE)
        return {labels[STORE] for labels in (*volumes, *(row["Labels"] for row in containers))}

    def beside(self, store_id: str) -> "Sandbox":
        """The same for another store, on the same connection to Podman. It closes together with this one."""
        return Sandbox(self._api, store_id, self._watchdog)

    async def sweep_builds(self) -> list[str]:
        """Removes the directories that interrupted image builds left, and returns their paths."""
        return await asyncio.to_thread(builds.sweep, self._api.service)


@asynccontextmanager
async def open(
    runtime_dir: Path,
    store_id: str,
    podman_socket: str | None = None,
    oci_runtime: str | None = None,
    patient: bool = False,
) -> AsyncIterator[Sandbox]:
    """Opens a sandbox. Podman's service is started in `runtime_dir` unless `podman_socket` names one.

    `patient`: do not fail if Podman does not answer yet; calls raise Unavailable until it does. Closing ends the
    service; containers continue. Only one server at a time may use a `runtime_dir`.
    """
    service = Service(runtime_dir, podman_socket, oci_runtime)
    await (service.tell() if patient else service.prepare())
    api = Libpod(service)
    watchdog = Watchdog(service)
    watching = asyncio.create_task(watchdog.run(), name="watchdog")
    sandbox = Sandbox(api, store_id, watchdog)
    try:
        yield sandbox
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await sandbox.close()
        await service.close()
