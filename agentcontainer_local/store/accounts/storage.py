"""The bytes that an account has stored, and its quotas."""

from agentcontainer_local.errors import TooLarge
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import Database, single


def file_bytes(db: Database, account_id: str) -> int:
    """The bytes of files, including uploads that were received but not completed."""
    sql = (
        "SELECT stored_bytes + (SELECT coalesce(sum(received_bytes), 0) FROM uploads WHERE account_id = :account"
        " AND file_id IS NULL) AS n FROM accounts WHERE id = :account"
    )
    return int(single(db, sql, {"account": account_id})["n"])


def checkpoint_bytes(db: Database, account_id: str) -> int:
    """The bytes of stopped containers that are kept, and of their workspaces."""
    sql = "SELECT coalesce(sum(kept_bytes), 0) AS n FROM tasks WHERE account_id = ? AND kept_bytes > 0"
    return int(single(db, sql, (account_id,))["n"])


def check_file_quota(db: Database, account_id: str, more_bytes: int, settings: Settings) -> None:
    quota = settings.file_quota_bytes
    if quota is not None and file_bytes(db, account_id) + more_bytes > quota:
        raise TooLarge(f"The account's files would exceed their quota of {quota} bytes. Delete files first.")


def check_checkpoint_quota(db: Database, account_id: str, settings: Settings) -> None:
    """Raises TooLarge if the quota is reached. The size of a workspace is only known afterwards, so the last one may
    exceed the quota."""
    quota = settings.checkpoint_quota_bytes
    if quota is not None and (used := checkpoint_bytes(db, account_id)) >= quota:
        raise TooLarge(f"The account's kept workspaces have {used} bytes, and their quota is {quota}.")
