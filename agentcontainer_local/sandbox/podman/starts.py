"""How a run gets its container: the kept one of an earlier run, or a new one on the task's volumes."""

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
    uids,
    writable_images,
)
from agentcontainer_local.sandbox.podman.names import labels, volumes_of
from agentcontainer_local.sandbox.podman.prepared import Prepared
from agentcontainer_local.sandbox.podman.remembered import Remembered

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    pid: int  # of its first process
    start: Start
    image: str | None = None
    enforced: Any = None


class Starter:
    def __init__(self, sandbox: Sandbox, prepared: Prepared, remembered: Remembered, runtime: Path):
        self._sandbox = sandbox
        self._prepared = prepared
        self._remembered = remembered
        self._runtime = runtime  # what containers mount: Node, Pi and the guest's programs

    async def start(self, spec: RunSpec, name: str, directory: Path) -> Started:
        """`directory`: where the host serves the run's guest."""
        before = self._remembered.of(spec.task_id).uid
        uid = await uids.claimed(self._sandbox, self._remembered, spec.task_id)
        bundle.allow_uid(self._runtime, uid)
        if not spec.first and (pid := await self._start_kept(spec, name, directory)):
            return Started(pid, Start.RESUMED)
        image, enforced = await self._make(spec, name, uid, directory)
        failpoints.point("container.starting")
        pid = await self._sandbox.start(name, seen={})
        return Started(pid, Start.FIRST if before is None else Start.REMADE, image, enforced)

    async def _start_kept(self, spec: RunSpec, name: str, directory: Path) -> int | None:
        """The container of an earlier run; None if there is none, or it is of no use any more and was removed."""
        found = await self._sandbox.inspect(name)
        if found is None:
            return None
        _write_launch(spec, directory, await writable_images.environment(self._sandbox, found["Image"]))
        try:
            if found["State"]["Status"] not in ENDED:
                await self._sandbox.stop(name, 0)  # there may be a life in it that nobody follows
                await self._sandbox.end_strays(found["Id"])
                found = None
            failpoints.point("container.restarting")
            return await self._sandbox.start(name, found)
        except Unavailable:
            raise
        except SandboxError as error:
            log.warning("a kept container is of no use container=%s: %s", name, error)
            await self._sandbox.remove(name)
            return None

    async def _make(self, spec: RunSpec, name: str, uid: int, directory: Path) -> tuple[str, Any]:
        """A new container, on the volumes that are there already, or not yet: its image, and what limits it."""
        image = self._prepared.known(spec.image) or await self._prepared.ensure(spec.image, log.info)
        marks, volumes = labels(spec.task_id), volumes_of(name)
        env, *_ = await asyncio.gather(
            writable_images.environment(self._sandbox, image),
            *(self._sandbox.create_volume(volume, marks, uid) for volume in volumes),
        )
        _write_launch(spec, directory, env or {})
        failpoints.point("volumes.made")
        wanted = enforcement.around(
            _container(spec, name, image, uid, self._runtime, directory), spec.limits, spec.isolation
        )
        try:
            created = await self._sandbox.create(wanted)
        except ImageMissing:  # somebody has removed it since we looked
            self._prepared.forget()
            raise
        failpoints.point("container.made")
        return image, enforcement.record(wanted, spec.limits, created)


def _container(spec: RunSpec, name: str, image: str, uid: int, runtime: Path, directory: Path) -> ContainerSpec:
    work, state = volumes_of(name)
    return ContainerSpec(
        name=name,
        image=image,
        command=(f"{MOUNT}/libexec/node", f"{MOUNT}/guest/daemon.mjs"),
        uid=uid,
        env={"HOME": WORKSPACE, "NODE_COMPILE_CACHE": f"{MOUNT}/cache/compile"},
        labels=labels(spec.task_id),
        workdir=WORKSPACE,
        binds=(Bind(str(runtime), MOUNT), Bind(str(directory), RUN)),
        volumes=(Mounted(work, WORKSPACE), Mounted(state, STATE)),
        network="internet" if spec.internet else "none",
        hostname="agent",
    )


def _write_launch(spec: RunSpec, directory: Path, env: dict[str, str]) -> None:
    """How Pi is to be started, for the task as it is at this moment. `env`: the image's."""
    path = directory / "launch.json"
    path.write_bytes(spec.launch(env))
    path.chmod(0o644)  # whatever our umask: the guest is another uid
    failpoints.point("launch.written")
