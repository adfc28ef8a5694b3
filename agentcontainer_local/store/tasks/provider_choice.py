"""The provider, model and key of a task: from its overrides, its agent's version or its account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentcontainer_local.errors import ProviderKeyMissing
from agentcontainer_local.providers import SCRIPTED_AS
from agentcontainer_local.store import accounts, model_settings
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Columns, Database, single

SCRIPTED = "scripted"  # the built-in model: any provider, no key, no network

LOST_KEY = (
    "it was encrypted with a secret.key that this data directory no longer has. Put that file back and start"
    " the server again, or set the key again."
)


@dataclass(frozen=True)
class Execution:
    provider: str
    model: str
    weak_model: str | None
    base_url: str
    api_key: str | None = field(repr=False)
    key_source: Literal["task", "agent", "store", "environment"] | None = None
    own_address: bool = False  # the base URL is not the vendor's own
    lost: bool = False  # a key is stored, but can't be decrypted
    api: str | None = None  # the API format of the server, if it is not the vendor's usual one
    settings: Mapping[str, model_settings.Model] = field(default_factory=dict)  # model settings, by model

    @property
    def scripted(self) -> bool:
        return self.model == SCRIPTED


def choose_provider(db: Database, account_id: str, model: str, environ: Mapping[str, str], *choices: str | None) -> str:
    """The first of `choices` (task, agent) that is not None, else the account's default provider."""
    for choice in (*choices, accounts.default_provider(db, account_id, environ)):
        if choice is not None:
            return choice
    if model == SCRIPTED:
        return SCRIPTED_AS
    raise ProviderKeyMissing(
        "No provider is chosen and the account has no default: give `provider` and `providerApiKey`, or set a key"
        " with `agentcontainer providers set anthropic`, or use the model `scripted`."
    )


def execution(context: Context, task: Columns) -> Execution:
    """The provider settings of the task. A key is used only for the provider that it was given for. `api_key` is None
    if there is none."""
    db, environ = context.db, context.environ
    account = accounts.provider(context, task["account_id"], task["provider"])
    own, whose = _own_key(db, task)
    key = context.vault.unseal(own) if own else account.api_key
    return Execution(
        provider=task["provider"],
        model=task["model"],
        weak_model=task["weak_model"],
        base_url=account.base_url,
        api_key=key,
        key_source=whose or account.source,
        own_address=account.own_address,
        lost=key is None and (own is not None or account.lost),
        api=model_settings.api(db, task["account_id"], task["provider"], environ),
        settings={
            model: model_settings.find(db, task["account_id"], task["provider"], model, environ)
            for model in (task["model"], task["weak_model"])
            if model
        },
    )


def require_key(context: Context, task: Columns) -> None:
    """Raises ProviderKeyMissing if the task's model can't be called for lack of a key."""
    if task["model"] == SCRIPTED:
        return
    effective = execution(context, task)
    if effective.lost:
        message = f"The API key for {effective.provider} can't be read: {LOST_KEY}"
        raise ProviderKeyMissing(message, provider=effective.provider, lost=True)
    if effective.api_key is None:
        raise ProviderKeyMissing(
            f"There is no API key for {effective.provider}: give `overrides.providerApiKey`, set one on the agent,"
            f" or for the account with `agentcontainer providers set {effective.provider}`.",
            provider=effective.provider,
        )


def _own_key(db: Database, task: Columns) -> tuple[bytes | None, Literal["task", "agent"] | None]:
    """The encrypted key of the task, else of its agent version if given for this provider; and its source."""
    if task["provider_api_key"] is not None:
        return task["provider_api_key"], "task"
    version = single(
        db,
        "SELECT provider_api_key, defaults ->> 'provider' AS provider FROM agent_versions WHERE id = ?",
        (task["agent_version_id"],),
    )
    if version["provider_api_key"] is not None and version["provider"] in (None, task["provider"]):
        return version["provider_api_key"], "agent"
    return None, None
