"""An account's provider settings, used where agent and task say nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlite_utils import Database

from agentcontainer_local import schemas
from agentcontainer_local.errors import Invalid, NotFound
from agentcontainer_local.process.text import without_password
from agentcontainer_local.settings import PREFIX
from agentcontainer_local.store import model_settings
from agentcontainer_local.store.db import iso, row, rows
from agentcontainer_local.store.secrets import Vault

# In the order in which an account's default is looked for.
BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
}


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
