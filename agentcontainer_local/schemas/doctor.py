"""What `doctor` found out about this machine."""

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import CheckStatus, WallStatus
from agentcontainer_local.schemas.fields import Timestamp


class Check(Shape):
    """Something that the machine has or lacks."""

    name: str
    status: CheckStatus = Field(description="`missing`: no task can run without it.")
    detail: str
    fix: str | None = Field(None, description="Command that fixes it.")


class WallCheck(Shape):
    """Something that an agent must not be able to do, and that was tried."""

    name: str
    status: WallStatus = Field(
        description="`unavailable`: not possible on this machine; tasks that need it are refused."
    )
    detail: str


class Proof(Shape):
    at: Timestamp
    promises: list[WallCheck]


class Doctor(Shape):
    ready: bool = Field(description="Nothing is missing.")
    checks: list[Check]
    proof: Proof | None = Field(description="Latest proof; null if there is none yet.")
    proving: str | None = Field(None, description="Promise that is being tested now; null if no proof is running.")
