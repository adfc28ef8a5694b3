"""Where the account's stores are. Refuses copied data directories, and distinguishes deleted from inaccessible ones.

Two servers of one store would end each other's agents, so a copy must not be served.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from agentcontainer_local.process import account_registry, mounts
from agentcontainer_local.process.mounts import Mount

KEPT_SECONDS = 30 * 24 * 3600  # how long the path of a deleted store is remembered after its last start


class Presence(Enum):
    THERE = "there"
    DELETED = "deleted"
    UNREACHABLE = "unreachable"  # the disk is not mounted, or this account has no permission
    UNKNOWN = "unknown"  # this account has not recorded its path


@dataclass(frozen=True)
class Whereabouts:
    presence: Presence
    data: Path | None
    why: str = ""  # why it is unreachable or unknown
    seconds_old: float | None = None  # since the last start of its server


def claim(store_id: str, data: Path) -> None:
    """Records the store's path at a server's start. A data directory may be moved. Raises RuntimeError for a copy."""
    registry, here = account_registry.of_account("stores"), data.resolve()
    sweep = registry.sweep_is_due()
    with registry.locked():
        there = registry.value(store_id)
        if there and Path(there).exists() and not here.samefile(there) and _may_be(store_id, Path(there)):
            raise RuntimeError(
                f"The data directory {data} is a copy of {there}: with both, each server would end the other's agents."
                f" To replace the original, move {there} away first. To have a second store, make it with"
                " `agentcontainer backup` and `agentcontainer restore`."
            )
        _note(store_id, here)
        for name, place in list(registry.entries()) if sweep else ():
            if registry.seconds_old(name) > KEPT_SECONDS and not Path(place).exists() and not _is_out_of_reach(name):
                forget(name)


def forget(store_id: str) -> None:
    """Removes the records of a deleted store of which nothing is left."""
    for registry in _registries():
        registry.remove(store_id)


def known() -> list[str]:
    """The ids of all stores that this account has served, whether they exist or not."""
    registry = account_registry.of_account("stores")
    with registry.locked():
        return [store_id for store_id, _ in registry.entries()]


def whereabouts(store_id: str) -> Whereabouts:
    """Where the store is. Never raises: a path that can't be read counts as unreachable."""
    stores, disks = _registries()
    place, disk = stores.value(store_id), disks.value(store_id)
    if place is None:
        return Whereabouts(Presence.UNKNOWN, None, "this account has no note of its data directory")
    data, age = Path(place), stores.seconds_old(store_id)
    try:
        if (data / "agentcontainer.db").stat() and _may_be(store_id, data):
            return Whereabouts(Presence.THERE, data, seconds_old=age)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return Whereabouts(Presence.UNREACHABLE, data, f"{error.strerror}: {error.filename}", age)
    if disk is None:
        return Whereabouts(Presence.UNKNOWN, data, "an earlier version served it, and did not note its disk", age)
    if why := mounts.why_out_of_reach(Mount.parsed(disk), mounts.of(data)):
        return Whereabouts(Presence.UNREACHABLE, data, why, age)
    return Whereabouts(Presence.DELETED, data, seconds_old=age)


def _is_out_of_reach(store_id: str) -> bool:
    return whereabouts(store_id).presence is Presence.UNREACHABLE


def _registries() -> tuple[account_registry.Registry, account_registry.Registry]:
    """Two registries: the stores' data directories, and the file systems that these are on."""
    return account_registry.of_account("stores"), account_registry.of_account("disks")


def _note(store_id: str, data: Path) -> None:
    forget(store_id)
    stores, disks = _registries()
    stores.put(store_id, str(data))
    disks.folder.mkdir(mode=0o700, exist_ok=True)
    disks.put(store_id, mounts.of(data).text())


def data_directories() -> list[Path]:
    """The existing data directories of this account's stores."""
    registry = account_registry.of_account("stores")
    with registry.locked():
        return [Path(place) for _, place in registry.entries() if Path(place).exists()]


def _may_be(store_id: str, data: Path) -> bool:
    """Whether the store may be there. True if the database can't be read, because its server may be busy."""
    database = data / "agentcontainer.db"
    if not database.exists():
        return False
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as store,
    ):
        return bool(store.execute("SELECT id FROM store").fetchone() == (store_id,))
    return True
