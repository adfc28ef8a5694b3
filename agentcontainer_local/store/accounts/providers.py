"""An account's provider settings, for agents and tasks without settings of their own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentcontainer_local import schemas
from agentcontainer_local.errors import Invalid, NotFound
from agentcontainer_local.process.text import without_password
from agentcontainer_local.providers import NAMES, PROVIDERS
from agentcontainer_local.store import model_settings
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, iso, row, rows


@dataclass(frozen=True)
class ProviderSettings:
    api_key: str | None = field(repr=False)
    base_url: str
    source: Literal["store", "environment"] | None  # where the key comes from
    own_address: bool  # the base URL is not the vendor's own
    lost: bool = False  # the stored key can't be decrypted; then the environment's key is not used instead


def provider(context: Context, account_id: str, provider: str) -> ProviderSettings:
    """The account's settings for `provider`: the stored ones, else the environment's, else the vendor's address."""
    sql, environ = "SELECT * FROM providers WHERE account_id = ? AND provider = ?", context.environ
    stored = row(context.db, sql, (account_id, provider)) or {}
    vendor = PROVIDERS[provider]
    base_url = stored.get("base_url") or environ.get(vendor.variable("BASE_URL"), "").strip() or vendor.base_url
    own_address = base_url.rstrip("/") != vendor.base_url
    if stored.get("api_key") is not None:
        key = context.vault.unseal(stored["api_key"])
        return ProviderSettings(key, base_url, "store", own_address, lost=key is None)
    key = environ.get(vendor.key_variable, "").strip() or None
    return ProviderSettings(key, base_url, "environment" if key else None, own_address)


def default_provider(db: Database, account_id: str, environ: Mapping[str, str]) -> str | None:
    """The provider that is set as default, else the first one with a key."""
    stored = rows(db, "SELECT provider, is_default, api_key FROM providers WHERE account_id = ?", (account_id,))
    chosen = [entry["provider"] for entry in stored if entry["is_default"]]
    keyed = {entry["provider"] for entry in stored if entry["api_key"] is not None}
    found = [name for name in NAMES if name in keyed or environ.get(PROVIDERS[name].key_variable, "").strip()]
    return next(iter(chosen + found), None)


def set_provider(
    context: Context,
    account_id: str,
    provider: str,
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    default: bool | None = None,
    api: str | None = None,
) -> None:
    """Stores the values that are not None. Raises NotFound for an unknown provider, and Invalid."""
    check_provider(provider)
    api_key = api_key and api_key.strip()
    if api_key and not re.fullmatch(schemas.SECRET, api_key):
        raise Invalid.field("apiKey", "must be one line of printable characters, without spaces")
    if base_url and not re.fullmatch(schemas.URL, base_url):
        raise Invalid.field("baseUrl", "must be an http or https address")
    db, now = context.db, context.now()
    with db.atomic():
        db.conn.execute(
            "INSERT INTO providers (account_id, provider, api_key, base_url, api, updated_at) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET api_key = coalesce(excluded.api_key, api_key),"
            " base_url = coalesce(excluded.base_url, base_url), api = coalesce(excluded.api, api),"
            " updated_at = excluded.updated_at",
            (account_id, provider, context.vault.seal(api_key) if api_key else None, base_url, api, iso(now)),
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
    if provider not in PROVIDERS:
        raise NotFound(f"There is no provider {provider}: {', '.join(NAMES)}.")


def remove_provider(db: Database, account_id: str, provider: str) -> None:
    """Deletes the stored settings. Those of the environment still apply."""
    check_provider(provider)
    with db.atomic():
        db.conn.execute("DELETE FROM providers WHERE account_id = ? AND provider = ?", (account_id, provider))
        model_settings.forget(db, account_id, provider)


def provider_shape(context: Context, account_id: str, name: str) -> schemas.ProviderStatus:
    db, environ = context.db, context.environ
    settings = provider(context, account_id, name)
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
    """Raises Invalid for a variable that is unusable. The message does not contain its value."""
    for name in NAMES:
        key, url = PROVIDERS[name].key_variable, PROVIDERS[name].variable("BASE_URL")
        if (value := environ.get(key, "").strip()) and not re.fullmatch(schemas.SECRET, value):
            raise Invalid(f"{key} must be one line of printable characters, without spaces.")
        if (value := environ.get(url, "").strip()) and not re.fullmatch(schemas.URL, value):
            raise Invalid(f"{url} must be an http or https address.")
        model_settings.environment(name, environ)
