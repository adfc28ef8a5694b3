"""Finds damage in a data directory, with the remedy for the operator. A server may be running."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agentcontainer_local.process import disk_space
from agentcontainer_local.store.db import is_damage, why
from agentcontainer_local.store.secrets import Vault

SHARE = 100  # a check may use 1/100 of the time
MIN_PAUSE_SECONDS = 5.0
MAX_NAMED_FILES = 5
SEALED = (
    "SELECT 'the account''s ' || provider, api_key, 'agentcontainer providers set ' || provider FROM providers"
    " WHERE api_key IS NOT NULL",
    "SELECT 'agent ' || name, provider_api_key, 'providerApiKey of the agent' FROM agents"
    " JOIN agent_versions ON agent_id = agents.id WHERE provider_api_key IS NOT NULL AND archived_at IS NULL"
    " AND agent_versions.number = (SELECT max(number) FROM agent_versions WHERE agent_id = agents.id)",
    "SELECT 'task ' || id, provider_api_key, 'a new task' FROM tasks"
    " WHERE provider_api_key IS NOT NULL AND completed_at IS NULL",
)


@dataclass(frozen=True)
class Fault:
    what: str  # the damaged part: "database", "secret.key", "data directory"
    detail: str
    fix: str
    fatal: bool  # nothing is reliable; otherwise the rest works


def faults(data: Path) -> list[Fault]:
    """The faults of a data directory. Blocks for as long as it takes to read the whole database."""
    database = data / "agentcontainer.db"
    if not database.exists():
        return []
    return [*_directory(data), *(_database(database) or lost_keys(data))]


def _directory(data: Path) -> list[Fault]:
    if not os.access(data, os.W_OK | os.X_OK):
        return [
            Fault(
                "data directory",
                f"{data} can't be written: new files can't be stored",
                f"Mount it for writing, or make it this account's (chown), uid {os.getuid()}.",
                True,
            )
        ]
    if disk_space.is_full(data):
        return [
            Fault(
                "data directory",
                f"The disk of {data} is full; new files and rows can't be stored",
                "Free some space.",
                True,
            )
        ]
    return []


def _database(database: Path) -> list[Fault]:
    try:
        with _reading(database) as store:
            found = [line for (line,) in store.execute(f"PRAGMA quick_check({MAX_NAMED_FILES})")]
    except sqlite3.Error as error:
        return [_unreadable(database, error)]
    return [] if found == ["ok"] else [damaged(database, "; ".join(found))]


def _unreadable(database: Path, error: sqlite3.Error) -> Fault:
    if is_damage(error):
        return damaged(database, why(error))
    return Fault(
        "database",
        f"{database} can't be read: {why(error)}",
        f"Make it this account's (chown), uid {os.getuid()}, with mode 0600, or stop the program that has it open."
        " Nothing is lost.",
        True,
    )


def damaged(database: Path, said: str) -> Fault:
    return Fault(
        "database",
        f"{database} is damaged, and the data on the damaged pages is lost: {' '.join(said.split())[:500]}",
        "Stop the server. Restore the last backup into a new directory: agentcontainer restore FILE --data DIR. Or save"
        f" what can still be read: sqlite3 {database} .recover | sqlite3 new.db, and put new.db in its place.",
        True,
    )


def lost_keys(data: Path) -> list[Fault]:
    """Keys of providers, of agents and of unfinished tasks that can't be decrypted."""
    database, path = data / "agentcontainer.db", data / "secret.key"
    vault, reason = Vault.read(path)
    try:
        with _reading(database) as store:
            sealed = [row for sql in SEALED for row in store.execute(sql)]
    except sqlite3.Error as error:
        return [_unreadable(database, error)]
    lost = [(name, again) for name, key, again in sealed if vault is None or vault.unseal(key) is None]
    if not lost:
        return []
    names = ", ".join(name for name, _ in lost[:MAX_NAMED_FILES]) + (", …" if len(lost) > MAX_NAMED_FILES else "")
    ways = ", ".join(dict.fromkeys(again for _, again in lost))
    reason = reason or "is not the key that these were encrypted with"
    return [
        Fault(
            "secret.key",
            f"{path} {reason}: {len(lost)} provider keys can't be read ({names})",
            f"Put the right secret.key back and start the server again, or set the keys again ({ways}).",
            False,
        )
    ]


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as store:
        yield store


class Watch:
    """The faults of a running server's data directory, checked in the background."""

    def __init__(self, data: Path):
        self._data = data
        self._looking: asyncio.Task[list[Fault]] | None = None
        self._due = 0.0

    async def faults(self, patience: float) -> list[Fault]:
        """The faults of a recent check. Empty while a check takes longer than `patience` seconds."""
        if self._looking is None or (self._looking.done() and time.monotonic() >= self._due):
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait({self._looking}, timeout=patience)
        return self._looking.result() if self._looking.done() else []

    async def _look(self) -> list[Fault]:
        began = time.monotonic()
        found = await asyncio.to_thread(faults, self._data)
        self._due = time.monotonic() + max(MIN_PAUSE_SECONDS, SHARE * (time.monotonic() - began))
        return found
