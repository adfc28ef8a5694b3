"""The parts of a server that the store's functions need. A function that needs three or more of them takes this."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.process.clock import Clock
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.secrets import Vault


@dataclass(frozen=True)
class Context:
    """Call `now` before a transaction begins: if it finds that the clock was set, it changes dates in rows."""

    db: Database
    vault: Vault
    settings: Settings
    environ: Mapping[str, str]  # the server's environment; an account's provider keys may come from it
    now: Clock

    @property
    def files(self) -> Path:
        """The directory of the files' contents."""
        return self.settings.data / "files"
