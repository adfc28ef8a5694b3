"""The uid of each task's agent: unique among all stores of this account, for as long as the task's volumes exist.

The kernel counts processes by uid, so two agents with one uid could starve each other. The registry is a directory of
the account's: one symbolic link for each uid in use, which names the task. A link exists or it does not, so a server
that is killed leaves nothing half-made. Links of stores that were deleted are removed once Podman has no such volumes.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils import Database

from agentcontainer_local import crash
from agentcontainer_local.db import Row, rows
from agentcontainer_local.host import Host
from agentcontainer_local.run.names import TASK_LABEL
from agentcontainer_local.sandbox import STORE, SandboxError

log = logging.getLogger(__name__)

FIRST, COUNT = 20_000, 40_000       # within the 65,536 sub-ids that an account has
FRESH_SECONDS = 3600                # from a claim to its volumes, and more
SWEEP_SECONDS = 24 * 3600


class NoneFree(SandboxError):
    """All uids are in use."""


class Registry:
    def __init__(self, folder: Path | None = None):
        self.folder = folder or _home() / ".local/state/agentcontainer/uids"

    def claim(self, owner: str, wanted: int | None = None) -> int:
        """A uid that no other owner has: `wanted` where that is free, else another. The same again for who has one."""
        first = zlib.crc32(owner.encode()) % COUNT if wanted is None else wanted - FIRST
        with self._locked():
            for uid in (FIRST + (first + step) % COUNT for step in range(COUNT)):
                if self._taken(uid, owner):
                    return uid
        raise NoneFree(f"All {COUNT} uids of agents are in use: remove tasks, or volumes of stores that are gone.")

    def release(self, owner: str, uid: int) -> None:
        with self._locked():
            if self._owner(uid) == owner:
                self._link(uid).unlink()

    def sweep_is_due(self) -> bool:
        """True once a day, for one server of the account."""
        with self._locked() as lock:
            due = time.time() - os.fstat(lock).st_mtime > SWEEP_SECONDS
            if due:
                os.utime(lock)
            return due

    def sweep(self, in_use: set[str], seconds: float = FRESH_SECONDS) -> None:
        """Removes what belongs to nobody: older than `seconds`, and of this Podman storage, but not `in_use`."""
        before, here = time.time() - seconds, _storage()
        with self._locked():
            for link in self.folder.iterdir():
                with contextlib.suppress(OSError):      # the lock is no link
                    storage, _, owner = os.readlink(link).rpartition("/")
                    gone = not Path(storage).exists() or (storage == here and owner not in in_use)
                    if gone and link.lstat().st_mtime < before:
                        link.unlink()

    def _taken(self, uid: int, owner: str) -> bool:
        try:
            os.symlink(f"{_storage()}/{owner}", self._link(uid))
        except FileExistsError:
            if self._owner(uid) != owner:
                return False
            os.utime(self._link(uid), follow_symlinks=False)
        return True

    def _owner(self, uid: int) -> str | None:
        try:
            return os.readlink(self._link(uid)).rpartition("/")[2]
        except OSError:
            return None

    def _link(self, uid: int) -> Path:
        return self.folder / str(uid)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """For moments only: nobody waits for Podman meanwhile."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


def hold(db: Database, store_id: str) -> None:
    """At start, as the registry may be new, or have lost something: the rows say whose uid their volumes have."""
    registry = Registry()
    for task in rows(db, "SELECT id, uid FROM tasks WHERE uid IS NOT NULL"):
        who = _owner_of(store_id, task["id"])
        if (uid := registry.claim(who, task["uid"])) != task["uid"]:     # both stores were made before the registry
            registry.release(who, uid)
            log.warning("another store has a task of the same uid task=%s uid=%d", task["id"], task["uid"])


async def claimed(host: Host, task: Row) -> int:
    """The task's uid, which it keeps until its workspace is removed."""
    registry, who = Registry(), _owner_of(host.store_id, task["id"])
    if task["uid"] is not None:
        return task["uid"]
    if await asyncio.to_thread(registry.sweep_is_due):
        with contextlib.suppress(SandboxError):
            await _swept(host, registry)
    try:
        uid = await asyncio.to_thread(registry.claim, who)
    except NoneFree:
        await _swept(host, registry)
        uid = await asyncio.to_thread(registry.claim, who)
    crash.point("uid.claimed")
    host.db.conn.execute("UPDATE tasks SET uid = ? WHERE id = ?", (uid, task["id"]))
    return uid


async def released(host: Host, task: Row) -> None:
    """For a task whose volumes are gone."""
    if task["uid"] is not None:
        who = _owner_of(host.store_id, task["id"])
        await asyncio.to_thread(Registry().release, who, task["uid"])


async def _swept(host: Host, registry: Registry) -> None:
    found = await host.sandbox.labels_of_all_volumes(TASK_LABEL)
    in_use = {_owner_of(labels.get(STORE, ""), labels[TASK_LABEL]) for labels in found}
    await asyncio.to_thread(registry.sweep, in_use)


def _owner_of(store_id: str, task_id: str) -> str:
    return f"{store_id}.{task_id}"


def _home() -> Path:
    """The account's own, whatever HOME says: its uids are the account's."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path.home()


def _storage() -> str:
    """Whose volumes Podman finds: it keeps them under HOME."""
    return str(Path.home())
