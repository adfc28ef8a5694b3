"""What one server process owns, opened once and handed to whoever needs three of its parts or more."""

import asyncio
from collections.abc import Callable, Mapping
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
    crowded: bool = False       # a task waits for room: idle conversations give theirs up

    @property
    def files(self) -> Path:
        """Where the files' bytes are."""
        return self.settings.data / "files"
