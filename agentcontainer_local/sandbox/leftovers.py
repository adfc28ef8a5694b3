"""What deleted stores have left on this machine: found, and removed. A living store's things are never touched."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from agentcontainer_local.sandbox.backend import RUN_DIRECTORY, Leftover, Leftovers
from agentcontainer_local.store import identity
from agentcontainer_local.store.identity import Presence


@dataclass(frozen=True)
class OfStore:
    """`state`: a store's Presence, or "in use" where a server is at work whose data directory was removed."""

    store_id: str
    state: str
    why: str
    data_directory: str | None
    seconds_old: float | None  # since the store was served last, or the last of it was made
    parts: Mapping[str, int]

    @property
    def removable(self) -> bool:
        """At all: where somebody names the store."""
        return self.state not in (Presence.THERE.value, "in use")

    @property
    def is_worthless(self) -> bool:
        """Nobody can want it back. A run directory is made anew by the next server of its store."""
        return self.state == Presence.DELETED.value or (self.removable and self.has_run_directory_only)

    @property
    def has_run_directory_only(self) -> bool:
        return set(self.parts) == {RUN_DIRECTORY}


async def found(leftovers: Leftovers) -> list[OfStore]:
    """Of each store that is not there, the longest deleted first."""
    every = [_of_store(one) for one in await leftovers.found(identity.known())]
    return sorted((one for one in every if one.state != "there"), key=lambda one: -(one.seconds_old or 0))


async def remove(leftovers: Leftovers, store_id: str) -> None:
    """All of it. Looks again before: the store may have come back meanwhile."""
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
