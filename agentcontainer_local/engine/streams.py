"""What the streams of a task tell, read and encoded once for all of them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from agentcontainer_local import lifecycle
from agentcontainer_local.store import events, tasks, transcript
from agentcontainer_local.store.db import Database, Row

BATCH_CHARACTERS = 64 * 1024  # of events at once, and one event more
MAX_BYTES = 1024**2  # of encoded events
ENTRY_BYTES = 500  # what Python needs for a moment or a batch, beside its text


class Batch(NamedTuple):
    """Stored events as server-sent events; `last` is the number of the last one. Nothing where there are none."""

    text: bytes
    last: int


@dataclass
class Moment:
    """A task until its rows change: what its tools have printed, and the events behind each number that was asked."""

    ended: bool
    printed: list[Row]
    batches: dict[int, Batch] = field(default_factory=dict)


class Streams:
    def __init__(self, db: Database):
        self._db = db
        self._moments: dict[str, Moment] = {}
        self._bytes = 0  # at most, of all batches
        db.subscribe(self._changed)

    def moment(self, task_id: str) -> Moment:
        """Raises LookupError where there is no such task."""
        moment = self._moments.get(task_id)
        if moment is None:
            ended = tasks.get(self._db, task_id)["status"] in lifecycle.TERMINAL
            self._make_room(ENTRY_BYTES)
            moment = self._moments[task_id] = Moment(ended, transcript.printed(self._db, task_id))
        return moment

    def batch(self, task_id: str, after: int) -> Batch:
        """The events behind that number, or as many of them as one write takes."""
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
