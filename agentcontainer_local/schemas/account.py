"""The account."""

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import BillingMode
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import Timestamp


class StorageUse(Shape):
    used_bytes: int
    quota_bytes: int | None = Field(description="Maximum size, in bytes; null: only the disk limits it.")
    is_enforced: bool


class WallFigures(Shape):
    """Of the last time that `doctor` proved the walls of this machine."""

    proved_at: Timestamp
    enforced: int
    not_enforced: int
    unavailable: int = Field(
        description="Number of promises that this machine cannot keep; tasks that need them are refused."
    )


class Account(Shape):
    id: str = Field(description="Internal account identifier resolved from the API key.")
    name: str | None
    email: str | None
    credit_balance: float = Field(description="Current prepaid platform credit balance in USD.")
    billing_mode: BillingMode
    file_storage: StorageUse = Field(description="Uploaded files and task outputs.")
    checkpoint_storage: StorageUse = Field(description="Kept workspaces of hibernating tasks and idle conversations.")
    walls: Extension[WallFigures | None] = Field(None, description="null until `agentcontainer doctor --prove`.")
    created_at: Timestamp
