"""The uid of each slot's agent. It is unique among all stores of this account while the slot's volumes exist.

The kernel counts processes by uid, so two agents with the same uid could starve each other. The account's registry
lists each uid in use with its slot. Entries of deleted stores are removed when Podman has no such volumes.
"""

import asyncio
import contextlib
import logging
import zlib
from pathlib import Path

from agentcontainer_local.process import account_registry, failpoints
from agentcontainer_local.process.account_registry import Registry
from agentcontainer_local.sandbox.podman import STORE, Sandbox, SandboxError, Unavailable
from agentcontainer_local.sandbox.podman.names import SLOT_LABEL
from agentcontainer_local.sandbox.podman.remembered import Remembered

log = logging.getLogger(__name__)

FIRST, COUNT = 20_000, 40_000  # within the 65,536 subordinate ids of an account
FRESH_SECONDS = 3600  # longer than it takes from a claim to its volumes


class NoneFree(Unavailable):
    """All uids are in use."""


class Uids:
    def __init__(self, registry: Registry | None = None):
        self.registry = registry or account_registry.of_account("uids")

    def claim(self, owner: str, wanted: int | None = None) -> int:
        """Reserves a uid for the owner: its present one if it has one, else `wanted` if that is free, else another."""
        first = zlib.crc32(owner.encode()) % COUNT if wanted is None else wanted - FIRST
        with self.registry.locked():
            for uid in (FIRST + (first + step) % COUNT for step in range(COUNT)):
                if self._taken(str(uid), owner):
                    return uid
        raise NoneFree(f"All {COUNT} uids of agents are in use: remove tasks, or volumes of stores that are gone.")

    def release(self, owner: str, uid: int | None) -> None:
        """Frees the uid. `uid` None: searches for it, which takes longer."""
        with self.registry.locked():
            for name in [name for name, _ in self.registry.entries()] if uid is None else [str(uid)]:
                if self._owner(name) == owner:
                    self.registry.remove(name)

    def sweep(self, in_use: set[str], seconds: float = FRESH_SECONDS) -> None:
        """Removes entries older than `seconds` that are not `in_use` or whose Podman storage is gone."""
        here = _storage()
        with self.registry.locked():
            for name, value in list(self.registry.entries()):
                storage, _, owner = value.rpartition("/")
                gone = not Path(storage).exists() or (storage == here and owner not in in_use)
                if gone and self.registry.seconds_old(name) > seconds:
                    self.registry.remove(name)

    def _taken(self, name: str, owner: str) -> bool:
        if self.registry.put(name, f"{_storage()}/{owner}"):
            return True
        if self._owner(name) != owner:
            return False
        self.registry.touch(name)
        return True

    def _owner(self, name: str) -> str | None:
        value = self.registry.value(name)
        return value and value.rpartition("/")[2]


def hold(remembered: Remembered, store_id: str) -> None:
    """At start, reserves the uids that the store's slots use. The registry may be new, or may have lost entries."""
    uids = Uids()
    for slot in remembered.slots():
        if slot.uid is None:
            continue
        who = owner_of(store_id, slot.id)
        if (claimed := uids.claim(who, slot.uid)) != slot.uid:  # both stores are older than the registry
            uids.release(who, claimed)
            log.warning("another store has a slot with the same uid slot=%s uid=%d", slot.id, slot.uid)


async def claimed(sandbox: Sandbox, slot_id: str) -> int:
    """Reserves a uid for this slot, until it is released."""
    uids, who = Uids(), owner_of(sandbox.store_id, slot_id)
    if await asyncio.to_thread(uids.registry.sweep_is_due):
        with contextlib.suppress(SandboxError):
            await _swept(sandbox, uids)
    try:
        uid = await asyncio.to_thread(uids.claim, who)
    except NoneFree:
        await _swept(sandbox, uids)
        uid = await asyncio.to_thread(uids.claim, who)
    failpoints.point("uid.claimed")
    return uid


async def released(sandbox: Sandbox, slot_id: str, uid: int | None) -> None:
    """Frees the uid of a slot whose volumes are gone."""
    await asyncio.to_thread(Uids().release, owner_of(sandbox.store_id, slot_id), uid)


async def _swept(sandbox: Sandbox, uids: Uids) -> None:
    found = await sandbox.labels_of_all_volumes(SLOT_LABEL)
    in_use = {owner_of(labels.get(STORE, ""), labels[SLOT_LABEL]) for labels in found}
    await asyncio.to_thread(uids.sweep, in_use)


def owner_of(store_id: str, slot_id: str) -> str:
    return f"{store_id}.{slot_id}"


def _storage() -> str:
    """The storage that the entry belongs to. Podman keeps volumes below HOME."""
    return str(Path.home())
