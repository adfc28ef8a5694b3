"""Makes new stores quickly: the migrations run once in this process, and each store is a copy of their result."""

import base64
import hashlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from agentcontainer_local.store.accounts import key_hash
from agentcontainer_local.store.db import Database, new_id

DATABASE, SECRET = "agentcontainer.db", "secret.key"


@dataclass(frozen=True)
class Prepared:
    """An empty store with its account, its key and the standard agents and containers."""

    database: bytes = field(repr=False)
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, db: Database, data: Path) -> "Prepared":
        return cls(db.conn.serialize(), (data / SECRET).read_bytes())

    def copy_to(self, data: Path) -> None:
        """`data`: a directory that is not there yet."""
        data.mkdir(mode=0o700)
        for name, content in ((DATABASE, self.database), (SECRET, self.secret)):
            (data / name).touch(0o600)
            (data / name).write_bytes(content)


def rename(data: Path, key: str) -> None:
    """Makes another store of a copy: with an id of its own, and this API key."""
    with closing(sqlite3.connect(data / DATABASE)) as db, db:
        db.execute("UPDATE store SET id = ?", (new_id("str"),))
        db.execute("UPDATE api_keys SET hash = ?, hint = ?", (key_hash(key), key[-4:]))


def with_secret(data: Path, seed: int | str) -> None:
    """A data directory whose `secret.key`, and with it the signature of an upload URL, depends on the seed alone."""
    data.mkdir(mode=0o700)
    (data / SECRET).touch(0o600)
    (data / SECRET).write_bytes(base64.urlsafe_b64encode(hashlib.sha256(f"secret.key {seed}".encode()).digest()))
