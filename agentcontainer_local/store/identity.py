"""Detects a copied data directory, before two servers of one store end each other's agents."""

import contextlib
import sqlite3
from pathlib import Path

from agentcontainer_local.process import account_registry


def claim(store_id: str, data: Path) -> None:
    """At start. A data directory that was moved takes its store along; raises RuntimeError for a copy of another."""
    registry, here = account_registry.of_account("stores"), data.resolve()
    sweep = registry.sweep_is_due()
    with registry.locked():
        there = registry.value(store_id)
        if there and Path(there).exists() and not here.samefile(there) and _may_be(store_id, Path(there)):
            raise RuntimeError(
                f"The data directory {data} is a copy of {there}: with both, each server would end the other's agents."
                f" To replace the original, move {there} away first. To have a second store, make it with"
                " `agentcontainer backup` and `agentcontainer restore`."
            )
        registry.remove(store_id)
        registry.put(store_id, str(here))
        for name, place in list(registry.entries()) if sweep else ():
            if not Path(place).exists():
                registry.remove(name)


def data_directories() -> list[Path]:
    """Of all stores of this account that were served here."""
    registry = account_registry.of_account("stores")
    with registry.locked():
        return [Path(place) for _, place in registry.entries() if Path(place).exists()]


def _may_be(store_id: str, data: Path) -> bool:
    """Also where that can't be read: its server may be at work."""
    database = data / "agentcontainer.db"
    if not database.exists():
        return False
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)) as store,
    ):
        return bool(store.execute("SELECT id FROM store").fetchone() == (store_id,))
    return True
