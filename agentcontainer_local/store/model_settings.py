"""API, context window and abilities of models: set by the account or the environment, or learned from an error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from agentcontainer_local import schemas
from agentcontainer_local.errors import Invalid
from agentcontainer_local.providers import PROVIDERS, Api
from agentcontainer_local.store.db import Database, Row, row, rows

ALL = ""  # as the model's name: the settings for models without settings of their own
MIN_WINDOW_TOKENS = 4096  # smaller windows have no room for an agent's instructions
GUESSED_WINDOW = 8192  # minimum guess, if an error does not name the window
UNSAID_WINDOW = 128_000  # assumed if nothing is known
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Model:
    """Settings of a model; None: unknown. Sizes are in tokens."""

    context_window: int | None = None
    max_output_tokens: int | None = None
    images: bool | None = None
    free: bool = False


def find(db: Database, account_id: str, provider: str, model: str, environ: Mapping[str, str]) -> Model:
    """The model's own settings, else those for all models of the provider, else the environment's. A learned window
    applies if none is set or if it is smaller."""
    own, every = (_stored(db, account_id, provider, name) or {} for name in (model, ALL))
    variables = environment(provider, environ)

    def first(name: str) -> Any:
        return next((one[name] for one in (own, every, variables) if one.get(name) is not None), None)

    window, learned, images = first("context_window"), own.get("learned_window"), first("images")
    return Model(
        context_window=min(filter(None, (window, learned)), default=None),
        max_output_tokens=first("max_output_tokens"),
        images=None if images is None else bool(images),
        free=bool(first("free")),
    )


def free(db: Database, account_id: str, provider: str, models: list[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Those of these models that are free."""
    return frozenset(model for model in models if find(db, account_id, provider, model, environ).free)


def api(db: Database, account_id: str, provider: str, environ: Mapping[str, str]) -> str | None:
    """The API of the provider's server, if it was set."""
    stored = row(db, "SELECT api FROM providers WHERE account_id = ? AND provider = ?", (account_id, provider)) or {}
    said: str | None = stored.get("api") or environment(provider, environ)["api"]
    return said


def environment(provider: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The environment's settings for a provider. Raises Invalid, which is checked at a server's start."""

    def given(setting: str) -> tuple[str, str]:
        name = PROVIDERS[provider].variable(setting)
        return name, environ.get(name, "").strip()

    return {
        "api": _api(*given("API")),
        "context_window": _size(*given("CONTEXT_WINDOW")),
        "max_output_tokens": _size(*given("MAX_OUTPUT")),
        "images": _flag(*given("IMAGES")),
        "free": _flag(*given("FREE")),
    }


def _api(name: str, value: str) -> str | None:
    if value and value not in get_args(Api):
        raise Invalid(f"{name} must be one of {', '.join(get_args(Api))}.")
    return value or None


def _size(name: str, value: str) -> int | None:
    if value and not (value.isdecimal() and 0 < int(value) <= schemas.MAX_WINDOW_TOKENS):
        raise Invalid(f"{name} must be a number of tokens.")
    return int(value) if value else None


def _flag(name: str, value: str) -> bool | None:
    if value and value.lower() not in YES + NO:
        raise Invalid(f"{name} must be true or false.")
    return value.lower() in YES if value else None


def change(db: Database, account_id: str, provider: str, model: str | None, given: Mapping[str, Any]) -> None:
    """Stores the values that are not None, for one model or (None) for all models of the provider. Setting a window
    deletes the learned one."""
    if all(value is None for value in given.values()):
        return
    names = ("context_window", "max_output_tokens", "images", "free")
    db.conn.execute(
        "INSERT INTO provider_models (account_id, provider, model, context_window, max_output_tokens, images, free)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " context_window = coalesce(excluded.context_window, context_window),"
        " max_output_tokens = coalesce(excluded.max_output_tokens, max_output_tokens),"
        " images = coalesce(excluded.images, images), free = coalesce(excluded.free, free)",
        (account_id, provider, model or ALL, *(given.get(name) for name in names)),
    )
    if given.get("context_window") is not None:
        forget_learned(db, account_id, provider, model)


def learn(db: Database, account_id: str, provider: str, model: str, window: int) -> None:
    """Stores a window that an error has revealed."""
    db.conn.execute(
        "INSERT INTO provider_models (account_id, provider, model, learned_window) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET learned_window = excluded.learned_window",
        (account_id, provider, model, window),
    )


def forget_learned(db: Database, account_id: str, provider: str, model: str | None = None) -> None:
    """Deletes learned windows: the server has changed, or the window was set."""
    db.conn.execute(
        "UPDATE provider_models SET learned_window = NULL WHERE account_id = ? AND provider = ?"
        " AND (? IS NULL OR model = ?)",
        (account_id, provider, model, model),
    )


def forget(db: Database, account_id: str, provider: str) -> None:
    db.conn.execute("DELETE FROM provider_models WHERE account_id = ? AND provider = ?", (account_id, provider))


def shapes(db: Database, account_id: str, provider: str) -> list[schemas.ModelSettings]:
    found = rows(
        db, "SELECT * FROM provider_models WHERE account_id = ? AND provider = ? ORDER BY model", (account_id, provider)
    )
    return [
        schemas.ModelSettings(
            model=one["model"] or None,
            context_window=one["context_window"],
            max_output_tokens=one["max_output_tokens"],
            images=_truth(one["images"]),
            free=_truth(one["free"]),
            learned_context_window=one["learned_window"],
        )
        for one in found
    ]


def _truth(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _stored(db: Database, account_id: str, provider: str, model: str) -> Row | None:
    sql = "SELECT * FROM provider_models WHERE account_id = ? AND provider = ? AND model = ?"
    return row(db, sql, (account_id, provider, model))
