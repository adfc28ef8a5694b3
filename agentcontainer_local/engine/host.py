"""What one server process owns, opened once and handed to whoever needs three of its parts or more."""

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
    """Tells everybody who waits that rows have changed: they look, and act on what they see.

    A waiter takes the mark before it looks, so that no change between look and wait is missed. Whoever cares for one
    task alone takes that task's mark: 200 streams of one do not wake for every other one's.
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
        """These have changed."""
        marked = [self._of.pop(id, None) for id in task_ids]
        everybody, self._of_all = self._of_all, None
        for future in (everybody, *marked):
            if future is not None:
                future.set_result(None)


class Heard:
    """What one listener has not taken yet; beyond MAX_CHARACTERS the oldest is dropped, for it is live only."""

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
    """The words of answers as they come, to who listens at that moment."""

    MAX_UNSAVED_PIECES = 2000  # pieces; the guest sends some 25 a second, and they are kept twice a second

    def __init__(self) -> None:
        self._listeners: dict[str, set[Heard]] = {}
        self._unkept: dict[str, list[str]] = {}  # of answers that are not whole yet: what no row has

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
        """The answer has come whole."""
        self._unkept.pop(task_id, None)

    def unkept(self, task_id: str) -> str:
        """What has come of the answer since this was asked before."""
        return "".join(self._unkept.pop(task_id, ()))


@dataclass
class Host:
    context: Context
    backend: Backend
    store_id: str
    catalog: dict[str, list[str]]  # the model ids that Pi knows, by provider
    away: timedelta = timedelta()  # for how long no server looked before this one
    owners_key_hash: bytes = b""  # of the key that the data directory's owner has while this server lives
    changed: Changed = field(default_factory=Changed)  # rows of tasks: set by their writers, at each commit
    look_again: Changed = field(default_factory=Changed)  # for the supervisor: time has passed, and no row has changed
    revoked: Changed = field(default_factory=Changed)  # an API key: whoever is being answered looks at its own
    settled: Changed = field(default_factory=Changed)  # a model call has ended: there may be room in a budget
    live: Live = field(default_factory=Live)
    answers: Answers = field(default_factory=Answers)  # of tasks that have ended
    calling: dict[str, Any] = field(default_factory=dict)  # by task: the gateway's Progress of its call at work
    called: Changed = field(default_factory=Changed)  # a model call has begun or ended
    arriving: Arriving = field(default_factory=Arriving)  # uploads
    preparing: Preparing = field(default_factory=Preparing)  # images that tasks wait for
    traces: Traces | None = None  # where an operator wants them
    integrity: Watch | None = None  # where there is a server
    proving: str | None = None  # what is being tried while the walls are
    followed: Counter[str] = field(default_factory=Counter)  # by task: guests that listen to what they are told
    settling: set[asyncio.Task[None]] = field(default_factory=set)  # model calls whose end could not be written yet
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
        """For dates; `steady` for durations."""
        return self.context.now

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """A moment's work for a guest: one of them all at a time, and then the loop goes round before the next."""
        async with self._turn:
            yield
            await asyncio.sleep(0)

    @property
    def steady(self) -> Callable[[], float]:
        """Seconds by a clock that nobody sets: for deadlines and idleness."""
        return self.now.steady

    @property
    def disks(self) -> dict[str, Disk]:
        """What must not become full: the data directory's, and the one on which runs live."""
        found = {"data": disk_space.of(self.settings.data), "containers": self.backend.disk()}
        return {name: disk for name, disk in found.items() if disk is not None}

    def check_room(self) -> None:
        """Before new work is taken; raises Unavailable."""
        disk_space.check(self.disks.values(), self.settings.min_free_percent)

    @property
    def crowded(self) -> bool:
        """What is kept only because there was room goes, well before new work is refused."""
        return min(disk.free_percent for disk in self.disks.values()) < 2 * self.settings.min_free_percent

    def keep_words(self, task_id: str) -> None:
        """Of an answer that is coming, so that they are not lost if it is cut."""
        self._keeping.discard(task_id)
        if text := self.live.unkept(task_id):
            transcript.keep_unfinished(self.db, task_id, text)

    def keep_words_soon(self, task_id: str) -> None:
        """Not with every word: an answer may have ten thousand."""
        if task_id not in self._keeping:
            self._keeping.add(task_id)
            asyncio.get_running_loop().call_later(KEEP_SECONDS, self._keep_if_possible, task_id)

    def _keep_if_possible(self, task_id: str) -> None:
        """The store may have been closed meanwhile, or the disk be full."""
        with suppress(sqlite3.Error):
            self.keep_words(task_id)

    @contextmanager
    def follower(self, task_id: str) -> Iterator[None]:
        """While open, a guest of this task's is counted as one that listens."""
        self.followed[task_id] += 1
        try:
            yield
        finally:
            self.followed -= Counter((task_id,))

    @property
    def files(self) -> Path:
        """Where the files' bytes are."""
        return self.context.files
