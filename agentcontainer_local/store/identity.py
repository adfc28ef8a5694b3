"""Where the account's stores are: a copied data directory is refused, and a deleted one is told from one out of reach.

Two servers of one store would end each other's agents.
"""

import contextlib
import sqlite3
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from agentcontainer_local.process import account_registry, mounts
from agentcontainer_local.process.mounts import Mount

KEPT_SECONDS = 30 * 24 * 3600  # after its last start, the path of a deleted store is known for so long


class Presence(Enum):
    THERE = "there"
    DELETED = "deleted"
    UNREACHABLE = "unreachable"  # its disk is not mounted, or this account may not look
    UNKNOWN = "unknown"  # this account has not noted where it was


@dataclass(frozen=True)
class Whereabouts:
    presence: Presence
    data: Path | None
    why: str = ""  # it is unreachable or unknown
    seconds_old: float | None = None  # since its last start


def claim(store_id: str, data: Path) -> None:
    """At start. A data directory that was moved takes its store along; raises RuntimeError for a copy of another."""
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
    """Of a store that was deleted, and of which nothing is left."""
    for registry in _registries():
        registry.remove(store_id)


def known() -> list[str]:
    """The ids of all stores that were served by this account, whether they are there or not."""
    registry = account_registry.of_account("stores")
    with registry.locked():
        return [store_id for store_id, _ in registry.entries()]


def whereabouts(store_id: str) -> Whereabouts:
    """Raises nothing: what can't be seen is unreachable."""
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
    """The data directory of each store, and the file system that it is on."""
    return account_registry.of_account("stores"), account_registry.of_account("disks")


def _note(store_id: str, data: Path) -> None:
    forget(store_id)
    stores, disks = _registries()
    stores.put(store_id, str(data))
    disks.folder.mkdir(mode=0o700, exist_ok=True)
    disks.put(store_id, mounts.of(data).text())


def data_directories() -> list[Path]:
    """Of all stores of this account that were served here."""
    registry = account_registry.of_account("stores")
    with registry.locked():
        return [Path(place) for _, place in registry.entries() if Path(place).exists()]


def _may_be(store_id: str, data: Path) -> bool:
    """Also where that can't be read: its server may be at work."""
    database = data / "agentcontainer.db"
    if not database.exists():
        return False
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as store,
    ):
        return bool(store.execute("SELECT id FROM store").fetchone() == (store_id,))
    return True
