"""The objects that one server process owns. A function that needs three or more of them takes the Host."""

import asyncio
import sqlite3
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from agentcontainer_local.engine.availability import Place
from agentcontainer_local.engine.preparing import Preparing
from agentcontainer_local.engine.streams import Streams
from agentcontainer_local.process import disk_space
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.process.tracing import Traces
from agentcontainer_local.sandbox.backend import Backend
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import transcript
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.files import Arriving
from agentcontainer_local.store.integrity import Watch
from agentcontainer_local.store.secrets import Vault
from agentcontainer_local.store.tasks.answers import Answers

KEEP_SECONDS = 0.5


class Changed:
    """Wakes tasks of the event loop that wait for changed rows. They read the rows and act on them.

    A waiter takes the mark before it reads, so that it misses no change between reading and waiting. A waiter for a
    single task takes that task's mark: 200 streams of one task do not wake for changes of other tasks.
    """

    def __init__(self) -> None:
        self._of_all: asyncio.Future[None] | None = None
        self._of: WeakValueDictionary[str, asyncio.Future[None]] = WeakValueDictionary()

    def mark(self, task_id: str | None = None) -> asyncio.Future[None]:
        if task_id is None:
            self._of_all = self._of_all or asyncio.get_running_loop().create_future()
            return self._of_all
        future = self._of.get(task_id)
        if future is None:
            future = self._of[task_id] = asyncio.get_running_loop().create_future()
        return future

    def set(self, *task_ids: str) -> None:
        """Wakes the waiters for these tasks, and those for all tasks."""
        marked = [self._of.pop(id, None) for id in task_ids]
        everybody, self._of_all = self._of_all, None
        for future in (everybody, *marked):
            if future is not None:
                future.set_result(None)


class Heard:
    """A listener's unread text. Beyond MAX_CHARACTERS the oldest text is dropped, because this stream is only live."""

    MAX_CHARACTERS = 64 * 1024

    def __init__(self) -> None:
        self._texts: deque[str] = deque()
        self._size = 0

    def put(self, text: str) -> None:
        self._texts.append(text)
        self._size += len(text)
        while self._size > self.MAX_CHARACTERS:
            self._size -= len(self._texts.popleft())

    def take(self) -> str:
        text = "".join(self._texts)
        self._texts.clear()
        self._size = 0
        return text


class Live:
    """The text of answers while they arrive, for present listeners."""

    MAX_UNSAVED_PIECES = 2000  # pieces of text; the guest sends about 25 a second, and they are saved twice a second

    def __init__(self) -> None:
        self._listeners: dict[str, set[Heard]] = {}
        self._unkept: dict[str, list[str]] = {}  # by task: text of an incomplete answer that is not saved yet

    @contextmanager
    def listening(self, task_id: str) -> Iterator[Heard]:
        heard = Heard()
        self._listeners.setdefault(task_id, set()).add(heard)
        try:
            yield heard
        finally:
            self._listeners[task_id].discard(heard)
            if not self._listeners[task_id]:
                del self._listeners[task_id]

    def say(self, task_id: str, text: str) -> None:
        unkept = self._unkept.setdefault(task_id, [])
        if len(unkept) < self.MAX_UNSAVED_PIECES:
            unkept.append(text)
        for heard in self._listeners.get(task_id, ()):
            heard.put(text)

    def forget(self, task_id: str) -> None:
        """Drops the unsaved text: the complete answer has arrived."""
        self._unkept.pop(task_id, None)

    def unkept(self, task_id: str) -> str:
        """Takes the text that arrived since the last call."""
        return "".join(self._unkept.pop(task_id, ()))


@dataclass
class Host:
    context: Context
    backend: Backend
    store_id: str
    catalog: dict[str, list[str]]  # model ids that Pi knows, by provider
    away: timedelta = timedelta()  # how long no server ran before this one
    owners_key_hash: bytes = b""  # the hash of the key that the owner of the data directory has while this server runs
    changed: Changed = field(default_factory=Changed)  # set at each commit that changes rows of tasks
    # wakes the supervisor when time has passed but no row has changed
    look_again: Changed = field(default_factory=Changed)
    revoked: Changed = field(default_factory=Changed)  # an API key was revoked; each open stream checks its own key
    settled: Changed = field(default_factory=Changed)  # a model call has ended, so a budget may have room
    live: Live = field(default_factory=Live)
    answers: Answers = field(default_factory=Answers)  # cached answers of ended tasks
    calling: dict[str, Any] = field(default_factory=dict)  # by task: the gateway's Progress of its current call
    called: Changed = field(default_factory=Changed)  # a model call has begun or ended
    arriving: Arriving = field(default_factory=Arriving)  # uploads
    preparing: Preparing = field(default_factory=Preparing)  # images that tasks wait for
    traces: Traces | None = None  # None if the operator does not want traces
    integrity: Watch | None = None  # None without a server
    proving: str | None = None  # the promise of isolation that is being tested, while `prove` runs
    followed: Counter[str] = field(default_factory=Counter)  # by task: number of guests with an open command stream
    settling: set[asyncio.Task[None]] = field(default_factory=set)  # model calls whose end could not be stored yet
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _keeping: set[str] = field(default_factory=set)
    place: Place = field(init=False)
    streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        self.place = Place(self.steady)
        self.streams = Streams(self.db)
        self.db.subscribe(self.changed.set)

    @property
    def db(self) -> Database:
        return self.context.db

    @property
    def vault(self) -> Vault:
        return self.context.vault

    @property
    def settings(self) -> Settings:
        return self.context.settings

    @property
    def environ(self) -> Mapping[str, str]:
        return self.context.environ

    @property
    def now(self) -> Clock:
        """The clock for dates. For durations use `steady`."""
        return self.context.now

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """Processes a guest's request: one at a time, and the event loop runs once before the next."""
        async with self._turn:
            yield
            await asyncio.sleep(0)

    @property
    def steady(self) -> Callable[[], float]:
        """Seconds on a clock that can't be set, for deadlines and durations."""
        return self.now.steady

    @property
    def disks(self) -> dict[str, Disk]:
        """The disks that must not become full: the data directory's, and the one that runs use."""
        found = {"data": disk_space.of(self.settings.data), "containers": self.backend.disk()}
        return {name: disk for name, disk in found.items() if disk is not None}

    def check_room(self) -> None:
        """Called before new work is accepted. Raises Unavailable if a disk is nearly full."""
        disk_space.check(self.disks.values(), self.settings.min_free_percent)

    @property
    def crowded(self) -> bool:
        """Whether disk space is short. Then kept workspaces are removed early, well before new work is refused."""
        return min(disk.free_percent for disk in self.disks.values()) < 2 * self.settings.min_free_percent

    def keep_words(self, task_id: str) -> None:
        """Saves the text of an incomplete answer, so that it is not lost if the answer is cut."""
        self._keeping.discard(task_id)
        if text := self.live.unkept(task_id):
            transcript.keep_unfinished(self.db, task_id, text)

    def keep_words_soon(self, task_id: str) -> None:
        """Saves the text soon. Not for every piece, because an answer can have ten thousand."""
        if task_id not in self._keeping:
            self._keeping.add(task_id)
            asyncio.get_running_loop().call_later(KEEP_SECONDS, self._keep_if_possible, task_id)

    def _keep_if_possible(self, task_id: str) -> None:
        """Saves the text, unless the store has been closed or the disk is full."""
        with suppress(sqlite3.Error):
            self.keep_words(task_id)

    @contextmanager
    def follower(self, task_id: str) -> Iterator[None]:
        """While open, counts one guest of this task as connected."""
        self.followed[task_id] += 1
        try:
            yield
        finally:
            self.followed -= Counter((task_id,))

    @property
    def files(self) -> Path:
        """The directory of the files' contents."""
        return self.context.files
