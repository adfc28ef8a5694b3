"""gVisor: a container whose programs speak to a kernel of their own, by the distribution's `runsc`."""

import asyncio
import shutil
from typing import Any

from agentcontainer_local.sandbox.errors import SandboxError, Unwalled
from agentcontainer_local.sandbox.podman.containers_conf import GVISOR as RUNTIME
from agentcontainer_local.sandbox.podman.libpod import Libpod
from agentcontainer_local.sandbox.podman.service import Service
from agentcontainer_local.sandbox.podman.spec import By, ContainerSpec

ANNOTATION = "agentcontainer.isolation"


class Gvisor:
    """A service of Podman's own for making such containers: all that is asked of it gets its default runtime.

    The REST API ignores the runtime that a request names (containers/podman#28429). Once made, a container keeps its
    runtime, whichever service starts it.
    """

    def __init__(self, service: Service):
        self._made_by = None if not service.ours else Service(service.runtime_dir / "gvisor", None, RUNTIME)
        self._api: Libpod | None = None
        self._opening = asyncio.Lock()

    async def api(self, spec: ContainerSpec) -> Libpod:
        """Raises SandboxError rather than isolate less."""
        if not shutil.which("runsc"):
            raise SandboxError("gVisor is asked for, and is not installed here: as root, run `apt-get install runsc`")
        if spec.network != "none":
            raise SandboxError("gVisor has no walled internet here: its own network would pass by the closed routes")
        if self._made_by is None:
            raise SandboxError("gVisor needs the Podman service that is started here: leave podman_socket out")
        async with self._opening:
            if self._api is None:
                await self._made_by.prepare()
                self._api = Libpod(self._made_by)
        return self._api

    async def close(self) -> None:
        if self._api is not None and self._made_by is not None:
            await self._made_by.close()


def prove(inspected: dict[str, Any], isolation: str) -> None:
    """Raise Unwalled where a container that was to have gVisor has something else."""
    if isolation == "gvisor" and inspected.get("OCIRuntime") != RUNTIME:
        raise Unwalled(f"not started: the container must have gVisor, but has {inspected.get('OCIRuntime')}")


def processes_by(spec: ContainerSpec) -> By:
    """Its kernel has one user for all containers on the host, and does not count processes by ulimit."""
    return "watchdog" if spec.isolation == "gvisor" else "ulimit and watchdog"
