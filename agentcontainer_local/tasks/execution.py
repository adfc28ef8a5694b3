"""What a task runs with: which provider, model and key, from its override, its agent's version or its account."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlite_utils import Database

from agentcontainer_local import accounts
from agentcontainer_local.db import Row, row
from agentcontainer_local.errors import ProviderKeyMissing
from agentcontainer_local.vault import Vault

SCRIPTED = "scripted"               # the built-in model: any provider, no key, no network


@dataclass(frozen=True)
class Execution:
    provider: str
    model: str
    weak_model: str | None
    base_url: str
    api_key: str | None = field(repr=False)
    key_source: Literal["task", "agent", "store", "environment"] | None = None
    own_address: bool = False       # the base URL is not the vendor's

    @property
    def scripted(self) -> bool:
        return self.model == SCRIPTED


def choose_provider(
    db: Database, account_id: str, model: str, environ: Mapping[str, str], *choices: str | None
) -> str:
    """The first of `choices` that is given (task, agent), else the account's default one."""
    for choice in (*choices, accounts.default_provider(db, account_id, environ)):
        if choice is not None:
            return choice
    if model == SCRIPTED:
        return "anthropic"          # whose words the scripted model then speaks
    raise ProviderKeyMissing(
        "No provider is chosen and the account has no default: give `provider` and `providerApiKey`, or set a key"
        " with `agentcontainer providers set anthropic`, or use the model `scripted`."
    )


def execution(db: Database, vault: Vault, task: Row, environ: Mapping[str, str]) -> Execution:
    """A key is used only for the provider that it was given for; `api_key` is None where there is none."""
    account = accounts.provider(db, vault, task["account_id"], task["provider"], environ)
    own_key, whose = _own_key(db, vault, task)
    return Execution(
        provider=task["provider"],
        model=task["model"],
        weak_model=task["weak_model"],
        base_url=account.base_url,
        api_key=own_key or account.api_key,
        key_source=whose or account.source,
        own_address=account.own_address,
    )


def require_key(db: Database, vault: Vault, task: Row, environ: Mapping[str, str]) -> None:
    """Raises ProviderKeyMissing if the task's model could not be called."""
    if task["model"] == SCRIPTED:
        return
    effective = execution(db, vault, task, environ)
    if effective.api_key is None:
        raise ProviderKeyMissing(
            f"There is no API key for {effective.provider}: give `overrides.providerApiKey`, set one on the agent,"
            f" or for the account with `agentcontainer providers set {effective.provider}`."
        )


def _own_key(db: Database, vault: Vault, task: Row) -> tuple[str | None, Literal["task", "agent"] | None]:
    """The task's own, or its agent version's if that was given for this provider; and which."""
    if task["provider_api_key"] is not None:
        return vault.unseal(task["provider_api_key"]), "task"
    version = row(
        db,
        "SELECT provider_api_key, defaults ->> 'provider' AS provider FROM agent_versions WHERE id = ?",
        (task["agent_version_id"],),
    )
    if version["provider_api_key"] is not None and version["provider"] in (None, task["provider"]):
        return vault.unseal(version["provider_api_key"]), "agent"
    return None, None
