"""The store's account. A store has exactly one."""

import logging

from agentcontainer_local import schemas
from agentcontainer_local.environment import API_KEY
from agentcontainer_local.errors import Invalid
from agentcontainer_local.money import to_usd
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.accounts.api_keys import (
    KEY_PATTERN,
    add_key,
    authenticated,
    key_hash,
)
from agentcontainer_local.store.accounts.storage import checkpoint_bytes, file_bytes
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, Row, iso, row, single

log = logging.getLogger(__name__)


def ensure(context: Context) -> tuple[Row, str | None]:
    """The store's account and, at the first start, its API key. The key can't be read again later.

    AGENTCONTAINER_API_KEY sets the first key. Raises Invalid if it does not have the format of a key.
    """
    db, environ, now = context.db, context.environ, context.now()
    with db.atomic():
        mode = "standard" if context.settings.billing == "prepaid" else "unlimited_grant"
        if (account := only(db)) is not None:
            db.conn.execute("UPDATE accounts SET billing_mode = ? WHERE id = ?", (mode, account["id"]))
            if (key := environ.get(API_KEY, "").strip()) and authenticated(db, key_hash(key)) is None:
                log.warning(
                    "%s is not an API key of this data directory. Set a valid key, or unset it;"
                    " `agentcontainer keys create` makes a key",
                    API_KEY,
                )
            return {**account, "billing_mode": mode}, None
        key = _first_key(context)
        account = {
            "id": db.ids.new("acc"),
            "name": "Local account",
            "email": None,
            "billing_mode": mode,
            "created_at": iso(now),
        }
        db.conn.execute(
            "INSERT INTO accounts (id, name, email, billing_mode, created_at)"
            " VALUES (:id, :name, :email, :billing_mode, :created_at)",
            account,
        )
        add_key(db, account["id"], "first", key, now)
        return account, key


def _first_key(context: Context) -> str:
    key = context.environ.get(API_KEY, "").strip()
    if not key:
        return context.db.ids.new_key()
    if not KEY_PATTERN.fullmatch(key):
        raise Invalid(f"{API_KEY} must be `ac_live_` and at least 24 characters of A-Z a-z 0-9 _ -.")
    return key


def only(db: Database) -> Row | None:
    """The store's account, for the owner of the data directory. None before the first start."""
    return row(db, "SELECT * FROM accounts ORDER BY created_at LIMIT 1")


def balance_microusd(db: Database, account_id: str) -> int:
    return int(single(db, "SELECT balance_microusd FROM accounts WHERE id = ?", (account_id,))["balance_microusd"])


def shape(db: Database, account: Row, settings: Settings) -> schemas.Account:
    return schemas.Account(
        id=account["id"],
        name=account["name"],
        email=account["email"],
        credit_balance=to_usd(balance_microusd(db, account["id"])),
        billing_mode=account["billing_mode"],
        file_storage=_storage(file_bytes(db, account["id"]), settings.file_quota_bytes),
        checkpoint_storage=_storage(checkpoint_bytes(db, account["id"]), settings.checkpoint_quota_bytes),
        created_at=account["created_at"],
    )


def _storage(used_bytes: int, quota_bytes: int | None) -> schemas.StorageUse:
    return schemas.StorageUse(used_bytes=used_bytes, quota_bytes=quota_bytes, is_enforced=quota_bytes is not None)
