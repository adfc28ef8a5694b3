"""Provides a run's container: the one that an earlier run left, or a new one on the slot's volumes."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcontainer_local.guest_contract import MOUNT, RUN, STATE, WORKSPACE
from agentcontainer_local.pi import bundle
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import RunSpec, Start
from agentcontainer_local.sandbox.podman import (
    ENDED,
    Bind,
    ContainerSpec,
    ImageMissing,
    Mounted,
    Sandbox,
    SandboxError,
    Unavailable,
    enforcement,
    writable_images,
)
from agentcontainer_local.sandbox.podman.names import labels
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.sandbox.podman.slots import Slot

log = logging.getLogger(__name__)

LAUNCH = "launch.json"


@dataclass(frozen=True)
class Started:
    pid: int  # pid of the first process
    start: Start
    image: str | None = None
    enforced: Any = None
    found: dict[str, Any] | None = None  # the result of `inspect` after the start


class Starter:
    def __init__(self, sandbox: Sandbox, prepared: Prepared, runtime: Path):
        self._sandbox = sandbox
        self._prepared = prepared
        self._runtime = runtime  # the directory that containers mount: Node, Pi and the guest's programs

    async def start(self, spec: RunSpec, slot: Slot, new: bool) -> Started:
        """Starts the container. `new`: no part of the slot was created yet."""
        bundle.allow_uid(self._runtime, slot.uid)
        if not spec.first and (pid := await self._start_kept(spec, slot)):
            return Started(pid, Start.RESUMED)
        image, enforced = await self._make(spec, slot)
        failpoints.point("container.starting")
        pid = await self._sandbox.start(slot.name, seen={})
        return Started(pid, Start.FIRST if new else Start.REMADE, image, enforced)

    async def _start_kept(self, spec: RunSpec, slot: Slot) -> int | None:
        """Starts the container of an earlier run. None if there is none, or if it can't start and was removed."""
        name = slot.name
        found = await self._sandbox.inspect(name)
        if found is None:
            return None
        write_launch(slot.directory, spec.launch(await writable_images.environment(self._sandbox, found["Image"])))
        try:
            if found["State"]["Status"] not in ENDED:
                await self._sandbox.stop(name, 0)  # a process that no server watches may still run in it
                await self._sandbox.end_strays(found["Id"])
                found = None
            failpoints.point("container.restarting")
            return await self._sandbox.start(name, found)
        except Unavailable:
            raise
        except SandboxError as error:
            log.warning("a kept container can't be started and is removed container=%s: %s", name, error)
            await self._sandbox.remove(name)
            return None

    async def _make(self, spec: RunSpec, slot: Slot) -> tuple[str, Any]:
        """Creates a container and missing volumes. Returns its image and what limits it."""
        image = self._prepared.known(spec.image) or await self._prepared.ensure(spec.image, log.info)
        marks = labels(slot.id)
        env, *_ = await asyncio.gather(
            writable_images.environment(self._sandbox, image),
            *(self._sandbox.create_volume(volume, marks, slot.uid) for volume in slot.volumes),
        )
        write_launch(slot.directory, spec.launch(env or {}))
        failpoints.point("volumes.made")
        wanted = enforcement.around(_container(slot, image, self._runtime, spec.internet), spec.limits, spec.isolation)
        try:
            created = await self._sandbox.create(wanted)
        except ImageMissing:  # it was removed since we checked
            self._prepared.forget()
            raise
        failpoints.point("container.made")
        return image, enforcement.record(wanted, spec.limits, created)


def _container(slot: Slot, image: str, runtime: Path, internet: bool) -> ContainerSpec:
    work, state = slot.volumes
    return ContainerSpec(
        name=slot.name,
        image=image,
        command=(f"{MOUNT}/libexec/node", f"{MOUNT}/guest/daemon.mjs"),
        uid=slot.uid,
        env={"HOME": WORKSPACE, "NODE_COMPILE_CACHE": f"{MOUNT}/cache/compile"},
        labels=labels(slot.id),
        workdir=WORKSPACE,
        binds=(Bind(str(runtime), MOUNT), Bind(str(slot.directory), RUN)),
        volumes=(Mounted(work, WORKSPACE), Mounted(state, STATE)),
        network="internet" if internet else "none",
        hostname="agent",
    )


def write_launch(directory: Path, launch: bytes) -> None:
    """Writes launch.json atomically: how Pi is started for the task as it is now."""
    new = directory / "launch.json.new"
    new.write_bytes(launch)
    new.chmod(0o644)  # independent of our umask, because the guest has another uid
    new.rename(directory / LAUNCH)
    failpoints.point("launch.written")
