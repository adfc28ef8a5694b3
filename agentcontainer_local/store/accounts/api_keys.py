"""An account's API keys. Only the hash of a key is stored."""

import hashlib
import re
from datetime import datetime, timedelta

from agentcontainer_local import schemas
from agentcontainer_local.errors import NotFound
from agentcontainer_local.store.db import ALL, Database, Row, iso, row, rows, single

KEY_PATTERN = re.compile(r"ac_live_[A-Za-z0-9_-]{24,200}")


def authenticated(db: Database, hash: bytes) -> Row | None:
    """The account of the key with this hash; None if the key is unknown or revoked.

    The lookup takes the SHA-256, never the key. Its timing could reveal the beginning of a hash, but that does not lead
    to a key of 144 random bits. So it is as safe as a comparison in constant time.
    """
    return row(
        db,
        "SELECT accounts.*, scope AS key_scope, expires_at AS key_expires_at FROM api_keys"
        " JOIN accounts ON accounts.id = api_keys.account_id"
        " WHERE api_keys.hash = ? AND api_keys.revoked_at IS NULL",
        (hash,),
    )


def key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def add_key(
    db: Database,
    account_id: str,
    name: str,
    key: str,
    now: datetime,
    scope: str = "all",
    expires_in_seconds: int | None = None,
) -> Row:
    id, expires_at = (
        db.ids.new("key"),
        None if expires_in_seconds is None else iso(now + timedelta(0, expires_in_seconds)),
    )
    db.conn.execute(
        "INSERT INTO api_keys (id, account_id, name, hash, hint, scope, expires_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (id, account_id, name, key_hash(key), key[-4:], scope, expires_at, iso(now)),
    )
    return single(db, "SELECT * FROM api_keys WHERE id = ?", (id,))


def create_key(
    db: Database,
    account_id: str,
    name: str,
    now: datetime,
    scope: str = "all",
    expires_in_seconds: int | None = None,
) -> tuple[Row, str]:
    """The new key's row, and the key itself, which is not stored."""
    key = db.ids.new_key()
    with db.atomic():
        return add_key(db, account_id, name, key, now, scope, expires_in_seconds), key


def revoke_key(db: Database, account_id: str, key_id: str, now: datetime) -> None:
    """Revokes a key. Does nothing if it is revoked. Raises NotFound."""
    with db.atomic():
        if row(db, "SELECT 1 AS found FROM api_keys WHERE id = ? AND account_id = ?", (key_id, account_id)) is None:
            raise NotFound(f"There is no API key {key_id}.")
        db.conn.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (iso(now), key_id))


KEYS_UP = "SELECT * FROM api_keys WHERE account_id = ? AND number > ? ORDER BY number LIMIT ?"
KEYS_DOWN = "SELECT * FROM api_keys WHERE account_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def keys(db: Database, account_id: str, limit: int = ALL, after: int = 0, ascending: bool = True) -> list[Row]:
    return rows(db, KEYS_UP if ascending else KEYS_DOWN, (account_id, after, limit))


def key_shape(key: Row) -> schemas.ApiKey:
    return schemas.ApiKey(
        id=key["id"],
        name=key["name"],
        hint=key["hint"],
        scope=key["scope"],
        created_at=key["created_at"],
        expires_at=key["expires_at"],
        revoked_at=key["revoked_at"],
    )
