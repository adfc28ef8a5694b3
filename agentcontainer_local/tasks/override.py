"""Overrides that come with a message or a wake, and hold from then on."""

from sqlite_utils import Database

from agentcontainer_local.db import Row
from agentcontainer_local.errors import Invalid
from agentcontainer_local.schemas import MessageOverrides
from agentcontainer_local.vault import Vault

COLUMNS = {
    "provider": "provider", "model": "model", "weakModel": "weak_model", "maxRuntimeSeconds": "max_runtime_seconds",
    "softFinishAfterSeconds": "soft_finish_after_seconds",
}


def override(db: Database, vault: Vault, task: Row, overrides: MessageOverrides | None) -> None:
    """A key that was given for one provider is not used for another. Call within the transaction of the message."""
    if overrides is None:
        return
    given = overrides.stored()
    changed = {**task, **{COLUMNS[name]: value for name, value in given.items()}}
    soft = changed["soft_finish_after_seconds"]
    if soft is not None and soft >= changed["max_runtime_seconds"]:
        raise Invalid.field("overrides.softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
    if overrides.provider_api_key is not None:
        changed["provider_api_key"] = vault.seal(overrides.provider_api_key)
    elif changed["provider"] != task["provider"]:
        changed["provider_api_key"] = None
    db.conn.execute(
        "UPDATE tasks SET provider = :provider, model = :model, weak_model = :weak_model,"
        " max_runtime_seconds = :max_runtime_seconds, soft_finish_after_seconds = :soft_finish_after_seconds,"
        " provider_api_key = :provider_api_key WHERE id = :id",
        changed,
    )
