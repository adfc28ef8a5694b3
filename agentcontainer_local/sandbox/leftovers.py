"""Finds and removes what deleted stores left on this machine. Nothing of an existing store is touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from agentcontainer_local.sandbox.backend import RUN_DIRECTORY, Leftover, Leftovers
from agentcontainer_local.store import identity
from agentcontainer_local.store.identity import Presence


@dataclass(frozen=True)
class OfStore:
    """`state`: a value of Presence, or "in use" if a server still runs whose data directory was removed."""

    store_id: str
    state: str
    why: str
    data_directory: str | None
    seconds_old: float | None  # since a server last used the store, or since its newest part was made
    parts: Mapping[str, int]

    @property
    def removable(self) -> bool:
        """Whether it can be removed on request, by naming the store."""
        return self.state not in (Presence.THERE.value, "in use")

    @property
    def is_worthless(self) -> bool:
        """Whether nobody can need it: the store was deleted, or only its run directory is left."""
        return self.state == Presence.DELETED.value or (self.removable and self.has_run_directory_only)

    @property
    def has_run_directory_only(self) -> bool:
        return set(self.parts) == {RUN_DIRECTORY}


async def found(leftovers: Leftovers) -> list[OfStore]:
    """The leftovers of each store whose data directory is not found, the longest deleted first."""
    every = [_of_store(one) for one in await leftovers.found(identity.known())]
    return sorted((one for one in every if one.state != "there"), key=lambda one: -(one.seconds_old or 0))


async def remove(leftovers: Leftovers, store_id: str) -> None:
    """Removes everything, unless the store's data directory has come back meanwhile."""
    presence = identity.whereabouts(store_id).presence
    if presence is not Presence.THERE:
        await leftovers.remove(store_id)
    if presence is Presence.DELETED:
        identity.forget(store_id)


def _of_store(left: Leftover) -> OfStore:
    where = identity.whereabouts(left.store_id)
    age = where.seconds_old
    if age is None and left.newest_at is not None:
        age = (datetime.now(UTC) - left.newest_at).total_seconds()
    state, why = where.presence.value, where.why
    if left.in_use and where.presence is not Presence.THERE:
        state, why = "in use", f"{left.in_use} serves it, although its data directory is gone"
    data = None if where.data is None else str(where.data)
    return OfStore(left.store_id, state, why, data, age, {name: count for name, count in left.parts.items() if count})
