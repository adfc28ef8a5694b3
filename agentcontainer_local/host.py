"""What one server process owns, opened once and handed to whoever needs three of its parts or more."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database

from agentcontainer_local.sandbox import Sandbox
from agentcontainer_local.settings import Settings
from agentcontainer_local.vault import Vault


@dataclass
class Changed:
    """Tells everybody who waits that rows have changed: they look, and act on what they see.

    A waiter takes the mark before it looks, so that no change between look and wait is missed.
    """

    _future: asyncio.Future | None = None

    def mark(self) -> asyncio.Future:
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        return self._future

    def set(self) -> None:
        future, self._future = self._future, None
        if future is not None:
            future.set_result(None)


class Heard:
    """What one listener has not taken yet; with more than MOST of it the oldest is dropped, for it is live only."""

    MOST = 1000

    def __init__(self):
        self._texts: deque[str] = deque(maxlen=self.MOST)

    def put(self, text: str) -> None:
        self._texts.append(text)

    def take(self) -> list[str]:
        texts = list(self._texts)
        self._texts.clear()
        return texts


class Live:
    """The words of answers as they come, to who listens at that moment."""

    def __init__(self):
        self._listeners: dict[str, set[Heard]] = {}

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
        for heard in self._listeners.get(task_id, ()):
            heard.put(text)


@dataclass
class Host:
    settings: Settings
    db: Database
    vault: Vault
    sandbox: Sandbox
    store_id: str
    runtime_dir: Path           # sockets and run directories: short paths, gone after a reboot
    runtime: Path               # what containers mount: Node, Pi and the guest's programs
    catalog: dict[str, list[str]]   # the model ids that Pi knows, by provider
    environ: Mapping[str, str]  # the server's own: where an account's provider keys may come from
    now: Callable[[], datetime]
    changed: Changed = field(default_factory=Changed)
    live: Live = field(default_factory=Live)
    crowded: bool = False       # a task waits for room: idle conversations give theirs up

    @property
    def files(self) -> Path:
        """Where the files' bytes are."""
        return self.settings.data / "files"
