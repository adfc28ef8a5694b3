"""Slots: a container with its volumes, run directory and uid. A slot belongs to one task for good."""

import contextlib
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.errors import Refusal
from agentcontainer_local.sandbox.podman import Sandbox, sessions, uids
from agentcontainer_local.sandbox.podman import remembered as memory
from agentcontainer_local.sandbox.podman.names import UNCLAIMED, name_of, volumes_of
from agentcontainer_local.sandbox.podman.remembered import Remembered

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slot:
    id: str
    name: str  # the container's name
    uid: int
    directory: Path  # the guest's sockets; the container mounts it

    @property
    def volumes(self) -> tuple[str, str]:
        """The names of the two volumes: workspace and session."""
        return volumes_of(self.name)


class _Left(NamedTuple):
    id: str
    name: str
    uid: int | None = None  # None: the registry knows it


class Slots:
    """The slots of one store's tasks."""

    def __init__(self, sandbox: Sandbox, remembered: Remembered, directory: Path):
        """`directory`: a short path for the sockets of runs."""
        self._sandbox = sandbox
        self._remembered = remembered
        self._directory = directory

    def of(self, task_id: str) -> memory.Slot | None:
        """The task's slot; None if it has none yet, or none any more."""
        return self._remembered.slot_of(task_id)

    def task_of(self, slot_id: str) -> str | None:
        return self._remembered.task_of(slot_id)

    async def for_task(self, task_id: str) -> Slot:
        """The task's slot, or a new one. A new slot is recorded before any part of it is created."""
        known = self.of(task_id)
        if known is not None and known.uid is not None:
            return self._whole(known.id, known.name, known.uid)
        slot_id = known.id if known is not None else task_id
        name = known.name if known is not None else name_of(self._sandbox.store_id, slot_id)
        slot = self._whole(slot_id, name, await uids.claimed(self._sandbox, slot_id))
        self._remembered.put(task_id, slot.id, slot.name, slot.uid)
        return slot

    async def unclaimed(self) -> Slot:
        """A new slot without a task. After a crash, the next server recognises it by its id."""
        slot_id = UNCLAIMED + secrets.token_hex(12)
        name = name_of(self._sandbox.store_id, slot_id)
        return self._whole(slot_id, name, await uids.claimed(self._sandbox, slot_id))

    def give(self, slot: Slot, task_id: str) -> None:
        """Gives the slot to a task that has none."""
        self._remembered.put(task_id, slot.id, slot.name, slot.uid)

    async def remove_container(self, slot: memory.Slot) -> None:
        """Removes the container and the run directory."""
        await self._sandbox.remove(slot.name)
        directory = self._directory_of(slot.id)
        with contextlib.suppress(FileNotFoundError):
            for entry in directory.iterdir():
                entry.unlink()
            directory.rmdir()

    async def remove_volumes(self, slot: memory.Slot) -> None:
        """Removes the volumes, with a container that still uses them, and frees the uid."""
        for volume in volumes_of(slot.name):
            try:
                await self._sandbox.remove_volume(volume)
            except Refusal:  # a container uses the volume
                await self.remove_container(slot)
                await self._sandbox.remove_volume(volume)
        failpoints.point("volumes.removed")
        await uids.released(self._sandbox, slot.id, slot.uid)

    async def discard(self, slot_id: str) -> None:
        """Removes a slot that has no row. Its volumes are kept if an agent has worked with them: then the row was lost,
        because the database was recovered, or is an old copy."""
        slot = _Left(slot_id, name_of(self._sandbox.store_id, slot_id))
        await self.remove_container(slot)
        workspace, session = volumes_of(slot.name)
        if await sessions.has_begun(self._sandbox, session):
            log.warning(
                "a workspace is kept although no task of this store has it: the database may be an old copy. If it is"
                " not, remove the workspace with `podman volume rm %s %s`.", workspace, session,
            )  # fmt: skip
            return
        await self.remove_volumes(slot)

    async def forget(self, task_id: str) -> None:
        """Removes what is left of the task's slot."""
        if (slot := self.of(task_id)) is not None:
            await self.remove_volumes(slot)
            self._remembered.forget(task_id)

    def _whole(self, slot_id: str, name: str, uid: int) -> Slot:
        return Slot(slot_id, name, uid, self._directory_of(slot_id))

    def _directory_of(self, slot_id: str) -> Path:
        return self._directory / "runs" / slot_id


def make_directory(slot: Slot) -> None:
    """Creates the slot's directory, which is lost at a reboot. Raises OSError if its parents are missing."""
    slot.directory.parent.mkdir(mode=0o700, exist_ok=True)
    slot.directory.mkdir(exist_ok=True)
    slot.directory.chmod(0o711)
