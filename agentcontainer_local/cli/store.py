"""What an operator may do to a data directory itself, beside its server or without one: keys and providers."""

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agentcontainer_local import accounts, db, schemas
from agentcontainer_local.cli import exits
from agentcontainer_local.cli.exits import Stop
from agentcontainer_local.vault import Vault


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[tuple]:
    path = directory / "agentcontainer.db"
    if not path.exists():
        raise Stop(exits.FAILED, f"There is no data directory at {directory}; `agentcontainer serve` makes it.")
    store = db.open(path)
    try:
        yield store, accounts.only(store)["id"]
    finally:
        store.close()


def lend_key(directory: Path, name: str) -> tuple[str, str]:
    """A new key's id, and the key itself."""
    with _opened(directory) as (store, account_id):
        row, key = accounts.create_key(store, account_id, name, datetime.now(UTC))
        return row["id"], key


def take_key_back(directory: Path, id: str) -> None:
    """Forgets it wholly: it was never anybody's."""
    with _opened(directory) as (store, account_id):
        store.conn.execute("DELETE FROM api_keys WHERE id = ? AND account_id = ?", (id, account_id))


class Store:
    """The client's operations on keys and providers, by the same names, where no server runs."""

    def __init__(self, directory: Path):
        self._directory = directory

    def create_key(self, name: str) -> schemas.CreatedApiKey:
        with _opened(self._directory) as (store, account_id):
            row, key = accounts.create_key(store, account_id, name, datetime.now(UTC))
            return schemas.CreatedApiKey(**accounts.key_shape(row).model_dump(by_alias=False), key=key)

    def list_keys(self) -> list[schemas.ApiKey]:
        with _opened(self._directory) as (store, account_id):
            return [accounts.key_shape(row) for row in accounts.keys(store, account_id)]

    def revoke_key(self, key_id: str) -> None:
        with _opened(self._directory) as (store, account_id):
            accounts.revoke_key(store, account_id, key_id, datetime.now(UTC))

    def list_providers(self) -> list[schemas.ProviderStatus]:
        with _opened(self._directory) as (store, account_id):
            vault = Vault.open(self._directory / "secret.key")
            return [accounts.provider_shape(store, vault, account_id, name, os.environ) for name in accounts.BASE_URLS]

    def set_provider(self, provider: str, **fields) -> schemas.ProviderStatus:
        body = schemas.UpdateProviderRequest.model_validate(fields, by_name=True)
        with _opened(self._directory) as (store, account_id):
            vault = Vault.open(self._directory / "secret.key")
            accounts.set_provider(store, vault, account_id, provider, api_key=body.api_key, base_url=body.base_url,
                                  default=body.is_default, now=datetime.now(UTC))
            return accounts.provider_shape(store, vault, account_id, provider, os.environ)

    def remove_provider(self, provider: str) -> None:
        with _opened(self._directory) as (store, account_id):
            accounts.remove_provider(store, account_id, provider)
