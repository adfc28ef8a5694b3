"""gVisor: the container's programs use a kernel of their own. The distribution's `runsc` provides it."""

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
    """A separate Podman service that creates these containers, with gVisor as its default runtime.

    The REST API ignores the runtime of a request (containers/podman#28429). A container keeps its runtime once it is
    created, whichever service starts it.
    """

    def __init__(self, service: Service):
        self._made_by = None if not service.ours else Service(service.runtime_dir / "gvisor", None, RUNTIME)
        self._api: Libpod | None = None
        self._opening = asyncio.Lock()

    async def api(self, spec: ContainerSpec) -> Libpod:
        """The service. Raises SandboxError if gVisor can't be used, rather than isolating less."""
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
    """Raises Unwalled if a container that must use gVisor uses another runtime."""
    if isolation == "gvisor" and inspected.get("OCIRuntime") != RUNTIME:
        raise Unwalled(f"not started: the container must have gVisor, but has {inspected.get('OCIRuntime')}")


def processes_by(spec: ContainerSpec) -> By:
    """What limits the processes. gVisor ignores the ulimit, and its containers share one user."""
    return "watchdog" if spec.isolation == "gvisor" else "ulimit and watchdog"
