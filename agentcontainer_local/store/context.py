"""What a function of the store needs of its server, where it needs three or more of these."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.process.clock import Clock
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.secrets import Vault


@dataclass(frozen=True)
class Context:
    """Ask `now` before a transaction begins: it may find that the clock was set, and then it moves dates in rows."""

    db: Database
    vault: Vault
    settings: Settings
    environ: Mapping[str, str]  # the server's own: an account's provider keys may come from it
    now: Clock

    @property
    def files(self) -> Path:
        """The folder with the files' bytes."""
        return self.settings.data / "files"
