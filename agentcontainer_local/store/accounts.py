"""Accounts: who asks, with which API keys, and which provider settings they use where agent and task say nothing."""

import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlite_utils import Database

from agentcontainer_local import schemas
from agentcontainer_local.errors import Invalid, NotFound, TooLarge
from agentcontainer_local.process.text import without_password
from agentcontainer_local.settings import PREFIX, Settings
from agentcontainer_local.store import model_settings
from agentcontainer_local.store.db import ALL, Row, iso, new_id, row, rows
from agentcontainer_local.store.secrets import Vault

log = logging.getLogger(__name__)
KEY_VARIABLE = PREFIX + "API_KEY"
KEY_PATTERN = re.compile(r"ac_live_[A-Za-z0-9_-]{24,200}")

# In the order in which an account's default is looked for.
BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}


# The account


def ensure(db: Database, settings: Settings, environ: Mapping[str, str], now: datetime) -> tuple[Row, str | None]:
    """The store's one account, and its API key when this is the first start: it is not to be had again.

    AGENTCONTAINER_API_KEY, if it is set then, is the key; raises Invalid when it does not look like one.
    """
    with db.atomic():
        mode = "standard" if settings.billing == "prepaid" else "unlimited_grant"
        if (account := only(db)) is not None:
            db.conn.execute("UPDATE accounts SET billing_mode = ? WHERE id = ?", (mode, account["id"]))
            if (key := environ.get(KEY_VARIABLE, "").strip()) and authenticated(db, key_hash(key)) is None:
                log.warning(
                    "%s is not an API key of this data directory. Set a valid key, or unset it;"
                    " `agentcontainer keys create` makes a key",
                    KEY_VARIABLE,
                )
            return {**account, "billing_mode": mode}, None
        key = _first_key(environ)
        account = {
            "id": new_id("acc"),
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
        _add_key(db, account["id"], "first", key, now)
        return account, key


def _first_key(environ: Mapping[str, str]) -> str:
    key = environ.get(KEY_VARIABLE, "").strip()
    if not key:
        return new_key()
    if not KEY_PATTERN.fullmatch(key):
        raise Invalid(f"{KEY_VARIABLE} must be `ac_live_` and at least 24 characters of A-Z a-z 0-9 _ -.")
    return key


def only(db: Database) -> Row | None:
    """The store's one account, for who owns the data directory; None before its first start."""
    return row(db, "SELECT * FROM accounts ORDER BY created_at LIMIT 1")


def authenticated(db: Database, hash: bytes) -> Row | None:
    """The account of the key with this hash; None for a key that is unknown or revoked.

    No key is ever compared, only its SHA-256, in an index. What time that takes could tell how a hash begins, and from
    that nobody gets to a key of 144 random bits: it is as good as a comparison in constant time.
    """
    return row(
        db,
        "SELECT accounts.*, scope AS key_scope, expires_at AS key_expires_at FROM api_keys"
        " JOIN accounts ON accounts.id = api_keys.account_id"
        " WHERE api_keys.hash = ? AND api_keys.revoked_at IS NULL",
        (hash,),
    )


def balance_microusd(db: Database, account_id: str) -> int:
    return row(db, "SELECT balance_microusd FROM accounts WHERE id = ?", (account_id,))["balance_microusd"]


def shape(db: Database, account: Row, settings: Settings) -> schemas.Account:
    return schemas.Account(
        id=account["id"],
        name=account["name"],
        email=account["email"],
        credit_balance=balance_microusd(db, account["id"]) / 1_000_000,
        billing_mode=account["billing_mode"],
        file_storage=_storage(file_bytes(db, account["id"]), settings.file_quota_bytes),
        checkpoint_storage=_storage(checkpoint_bytes(db, account["id"]), settings.checkpoint_quota_bytes),
        created_at=account["created_at"],
    )


def _storage(used_bytes: int, quota_bytes: int | None) -> schemas.StorageUse:
    return schemas.StorageUse(used_bytes=used_bytes, quota_bytes=quota_bytes, is_enforced=quota_bytes is not None)


# What it has stored


def file_bytes(db: Database, account_id: str) -> int:
    """Those of uploads too that have their bytes, and are not completed yet."""
    sql = (
        "SELECT stored_bytes + (SELECT coalesce(sum(received_bytes), 0) FROM uploads WHERE account_id = :account"
        " AND file_id IS NULL) AS n FROM accounts WHERE id = :account"
    )
    return row(db, sql, {"account": account_id})["n"]


def checkpoint_bytes(db: Database, account_id: str) -> int:
    """Of the containers that are stopped and kept, and of their workspaces."""
    sql = "SELECT coalesce(sum(kept_bytes), 0) AS n FROM tasks WHERE account_id = ? AND kept_bytes > 0"
    return row(db, sql, (account_id,))["n"]


def check_file_quota(db: Database, account_id: str, more_bytes: int, settings: Settings) -> None:
    quota = settings.file_quota_bytes
    if quota is not None and file_bytes(db, account_id) + more_bytes > quota:
        raise TooLarge(f"The account's files would exceed their quota of {quota} bytes. Delete files first.")


def check_checkpoint_quota(db: Database, account_id: str, settings: Settings) -> None:
    """How large the next one will be is not known before; so one may go beyond it, and no other after that."""
    quota = settings.checkpoint_quota_bytes
    if quota is not None and (used := checkpoint_bytes(db, account_id)) >= quota:
        raise TooLarge(f"The account's kept workspaces have {used} bytes, and their quota is {quota}.")


# Its budget for model calls


def budget(db: Database, account_id: str, month: str) -> Row:
    """`month`: 2026-03. Both limits may be None; what was spent counts calls that are at work at their worst."""
    return row(
        db,
        "SELECT max_cost_microusd, max_tokens, coalesce(microusd, 0) AS spent_microusd,"
        " coalesce(tokens, 0) AS spent_tokens FROM accounts"
        " LEFT JOIN spending ON account_id = accounts.id AND month = ? WHERE accounts.id = ?",
        (month, account_id),
    )


def set_budget(db: Database, account_id: str, max_cost_usd: float | None, max_tokens: int | None) -> None:
    """In the place of the one before; None: no limit."""
    db.conn.execute(
        "UPDATE accounts SET max_cost_microusd = ?, max_tokens = ? WHERE id = ?",
        (None if max_cost_usd is None else round(max_cost_usd * 1e6), max_tokens, account_id),
    )


def budget_shape(db: Database, account_id: str, now: datetime) -> schemas.AccountBudget:
    month = iso(now)[:7]
    found = budget(db, account_id, month)
    return schemas.AccountBudget(
        max_cost_usd=None if found["max_cost_microusd"] is None else found["max_cost_microusd"] / 1e6,
        max_tokens=found["max_tokens"],
        used_cost_usd=found["spent_microusd"] / 1e6,
        used_tokens=found["spent_tokens"],
        month=month,
    )


# API keys


def new_key() -> str:
    return "ac_live_" + secrets.token_urlsafe(24)


def key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _add_key(
    db: Database,
    account_id: str,
    name: str,
    key: str,
    now: datetime,
    scope: str = "all",
    expires_in_seconds: int | None = None,
) -> Row:
    id, expires_at = new_id("key"), None if expires_in_seconds is None else iso(now + timedelta(0, expires_in_seconds))
    db.conn.execute(
        "INSERT INTO api_keys (id, account_id, name, hash, hint, scope, expires_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (id, account_id, name, key_hash(key), key[-4:], scope, expires_at, iso(now)),
    )
    return row(db, "SELECT * FROM api_keys WHERE id = ?", (id,))


def create_key(
    db: Database,
    account_id: str,
    name: str,
    now: datetime,
    scope: str = "all",
    expires_in_seconds: int | None = None,
) -> tuple[Row, str]:
    """The new key's row, and the key itself, which is kept nowhere."""
    key = new_key()
    with db.atomic():
        return _add_key(db, account_id, name, key, now, scope, expires_in_seconds), key


def revoke_key(db: Database, account_id: str, key_id: str, now: datetime) -> None:
    """Revoking it again changes nothing."""
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


# Providers


@dataclass(frozen=True)
class ProviderSettings:
    api_key: str | None = field(repr=False)
    base_url: str
    source: Literal["store", "environment"] | None  # where the key comes from
    own_address: bool  # the base URL is not the vendor's
    lost: bool = False  # it can't be unsealed; the environment's does not take its place unasked


def provider(
    db: Database, vault: Vault, account_id: str, provider: str, environ: Mapping[str, str]
) -> ProviderSettings:
    """What the account itself has for `provider`: what was set, else the environment's, else the vendor's address."""
    stored = row(db, "SELECT * FROM providers WHERE account_id = ? AND provider = ?", (account_id, provider)) or {}
    base_url = stored.get("base_url") or environ.get(_url_variable(provider), "").strip() or BASE_URLS[provider]
    own_address = base_url.rstrip("/") != BASE_URLS[provider]
    if stored.get("api_key") is not None:
        key = vault.unseal(stored["api_key"])
        return ProviderSettings(key, base_url, "store", own_address, lost=key is None)
    key = environ.get(_key_variable(provider), "").strip() or None
    return ProviderSettings(key, base_url, "environment" if key else None, own_address)


def _key_variable(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _url_variable(provider: str) -> str:
    return f"{PREFIX}{provider.upper()}_BASE_URL"


def default_provider(db: Database, account_id: str, environ: Mapping[str, str]) -> str | None:
    """The one set as default, else the first that has a key."""
    stored = rows(db, "SELECT provider, is_default, api_key FROM providers WHERE account_id = ?", (account_id,))
    chosen = [entry["provider"] for entry in stored if entry["is_default"]]
    keyed = {entry["provider"] for entry in stored if entry["api_key"] is not None}
    found = [name for name in BASE_URLS if name in keyed or environ.get(_key_variable(name), "").strip()]
    return next(iter(chosen + found), None)


def set_provider(
    db: Database,
    vault: Vault,
    account_id: str,
    provider: str,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    default: bool | None = None,
    api: str | None = None,
    now: datetime,
) -> None:
    """Changes what is given; None leaves as it is. Raises NotFound for a provider that there is not, and Invalid."""
    check_provider(provider)
    api_key = api_key and api_key.strip()
    if api_key and not re.fullmatch(schemas.SECRET, api_key):
        raise Invalid.field("apiKey", "must be one line of printable characters, without spaces")
    if base_url and not re.fullmatch(schemas.URL, base_url):
        raise Invalid.field("baseUrl", "must be an http or https address")
    with db.atomic():
        db.conn.execute(
            "INSERT INTO providers (account_id, provider, api_key, base_url, api, updated_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET api_key = coalesce(excluded.api_key, api_key),"
            " base_url = coalesce(excluded.base_url, base_url), api = coalesce(excluded.api, api),"
            " updated_at = excluded.updated_at",
            (account_id, provider, vault.seal(api_key) if api_key else None, base_url, api, iso(now)),
        )
        if base_url:
            model_settings.forget_learned(db, account_id, provider)
        if default:
            db.conn.execute("UPDATE providers SET is_default = 0 WHERE account_id = ?", (account_id,))
        if default is not None:
            db.conn.execute(
                "UPDATE providers SET is_default = ? WHERE account_id = ? AND provider = ?",
                (int(default), account_id, provider),
            )


def check_provider(provider: str) -> None:
    if provider not in BASE_URLS:
        raise NotFound(f"There is no provider {provider}: {', '.join(BASE_URLS)}.")


def remove_provider(db: Database, account_id: str, provider: str) -> None:
    """Forgets what was set; the environment's stays."""
    check_provider(provider)
    with db.atomic():
        db.conn.execute("DELETE FROM providers WHERE account_id = ? AND provider = ?", (account_id, provider))
        model_settings.forget(db, account_id, provider)


def provider_shape(
    db: Database, vault: Vault, account_id: str, name: str, environ: Mapping[str, str]
) -> schemas.ProviderStatus:
    settings = provider(db, vault, account_id, name, environ)
    return schemas.ProviderStatus(
        provider=name,
        has_api_key=settings.api_key is not None,
        base_url=without_password(settings.base_url),
        is_default=name == default_provider(db, account_id, environ),
        source=settings.source,
        api=model_settings.api(db, account_id, name, environ),
        models=model_settings.shapes(db, account_id, name),
    )


def check_environment(environ: Mapping[str, str]) -> None:
    """Raises Invalid for a variable that no call could be made with, and does not say what is in it."""
    for name in BASE_URLS:
        if (key := environ.get(_key_variable(name), "").strip()) and not re.fullmatch(schemas.SECRET, key):
            raise Invalid(f"{_key_variable(name)} must be one line of printable characters, without spaces.")
        if (url := environ.get(_url_variable(name), "").strip()) and not re.fullmatch(schemas.URL, url):
            raise Invalid(f"{_url_variable(name)} must be an http or https address.")
        model_settings.environment(name, environ)
