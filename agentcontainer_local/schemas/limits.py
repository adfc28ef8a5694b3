"""Resource limits: as asked for, and as a container is kept to them."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from agentcontainer_local.schemas.base import Request, Shape, optional
from agentcontainer_local.schemas.enums import Isolation, LimitKeeper, NetworkAccess
from agentcontainer_local.schemas.fields import whole


class ResourceLimits(Request):
    """What the container may take of the machine; the server's settings say it where this does not."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)
    memory_mb: Annotated[int, Field(ge=256, le=2**24), BeforeValidator(whole)] | None = optional(
        description="Maximum memory of all processes together, in MB of 1024 * 1024 bytes."
    )
    cpus: Annotated[float, Field(ge=0.1, le=4096, allow_inf_nan=False)] | None = optional(
        description="Maximum number of processors. Rounded up to whole ones on a machine that cannot share them."
    )
    processes: Annotated[int, Field(ge=64, le=2**20), BeforeValidator(whole)] | None = optional(
        description="Maximum number of processes and threads."
    )
    open_files: Annotated[int, Field(ge=256, le=2**20), BeforeValidator(whole)] | None = optional(
        description="Maximum number of open files of each process."
    )
    workspace_mb: Annotated[int, Field(ge=16, le=2**30), BeforeValidator(whole)] | None = optional(
        description="Maximum disk space, inside and outside of the workspace, in MB of 1024 * 1024 bytes."
    )


class KeptLimit(Shape):
    value: float | None = Field(description="null: no limit.")
    by: LimitKeeper = Field(description="Mechanism that keeps the promise on this machine.")


class KeptLimits(Shape):
    memory_mb: KeptLimit
    cpus: KeptLimit
    processes: KeptLimit
    open_files: KeptLimit
    workspace_mb: KeptLimit


class TaskWalls(Shape):
    """What its container is, or was, kept to; its network was looked at before anything in it ran."""

    isolation: Isolation
    network: NetworkAccess = Field(description="internet: without the host and local networks.")
    limits: KeptLimits
    warnings: list[str] = Field(description="Podman's warnings about limits that it could not set.")
    node: str | None = Field(None, description="Machine that an engine has chosen for it; null: the server's own.")
