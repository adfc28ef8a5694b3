"""The content of a task's event streams, read and encoded once for all listeners."""

from dataclasses import dataclass, field
from typing import NamedTuple

from agentcontainer_local import lifecycle
from agentcontainer_local.store import events, tasks, transcript
from agentcontainer_local.store.db import Database, Row

BATCH_CHARACTERS = 64 * 1024  # of events per batch; the last event may exceed it
MAX_BYTES = 1024**2  # of encoded events
ENTRY_BYTES = 500  # Python's overhead for a moment or a batch, without its text


class Batch(NamedTuple):
    """Stored events as server-sent events; empty if there are none. `last`: the number of the last event."""

    text: bytes
    last: int


@dataclass
class Moment:
    """A task until its rows change: the output of its tools, and batches by the number that they follow."""

    ended: bool
    printed: list[Row]
    batches: dict[int, Batch] = field(default_factory=dict)


class Streams:
    def __init__(self, db: Database):
        self._db = db
        self._moments: dict[str, Moment] = {}
        self._bytes = 0  # upper bound of the size of all batches
        db.subscribe(self._changed)

    def moment(self, task_id: str) -> Moment:
        """Raises LookupError if there is no such task."""
        moment = self._moments.get(task_id)
        if moment is None:
            ended = tasks.get(self._db, task_id)["status"] in lifecycle.TERMINAL
            self._make_room(ENTRY_BYTES)
            moment = self._moments[task_id] = Moment(ended, transcript.printed(self._db, task_id))
        return moment

    def batch(self, task_id: str, after: int) -> Batch:
        """The events after that number, at most BATCH_CHARACTERS and one event more."""
        batches = self.moment(task_id).batches
        batch = batches.get(after)
        if batch is None:
            found = events.some(self._db, task_id, after, BATCH_CHARACTERS)
            text = "".join(map(events.server_sent, found)).encode()
            batch = batches[after] = Batch(text, found[-1]["number"] if found else after)
            self._make_room(len(text) + ENTRY_BYTES)
        return batch

    def _changed(self, *task_ids: str) -> None:
        for id in task_ids:
            self._moments.pop(id, None)
        if not self._moments:
            self._bytes = 0

    def _make_room(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MAX_BYTES:
            self._moments.clear()
            self._bytes = size
