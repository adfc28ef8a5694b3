"""Accounts: authentication, API keys, and provider settings for agents and tasks without settings of their own."""

from agentcontainer_local.store.accounts.account import balance_microusd, ensure, only, shape
from agentcontainer_local.store.accounts.api_keys import (
    KEY_PATTERN,
    authenticated,
    create_key,
    key_hash,
    key_shape,
    keys,
    revoke_key,
)
from agentcontainer_local.store.accounts.budgets import budget, budget_shape, set_budget
from agentcontainer_local.store.accounts.providers import (
    ProviderSettings,
    check_environment,
    default_provider,
    provider,
    provider_shape,
    remove_provider,
    set_provider,
)
from agentcontainer_local.store.accounts.storage import check_checkpoint_quota, check_file_quota, file_bytes

__all__ = [
    "KEY_PATTERN", "ProviderSettings", "authenticated", "balance_microusd", "budget", "budget_shape",
    "check_checkpoint_quota", "check_environment", "check_file_quota", "create_key", "default_provider", "ensure",
    "file_bytes", "key_hash", "key_shape", "keys", "only", "provider", "provider_shape",
    "remove_provider", "revoke_key", "set_budget", "set_provider", "shape",
]  # fmt: skip
