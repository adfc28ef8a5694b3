"""Limits of time and of resources."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault, optional
from agentcontainer_local.schemas.enums import Isolation, LimitKeeper, NetworkAccess
from agentcontainer_local.schemas.fields import Seconds, whole


class Limits(Request):
    max_runtime_seconds: Seconds | None = Field(None, description="Maximum running time of the container, in seconds.")
    soft_finish_after_seconds: Seconds | None = Field(
        None, description="Running time after which the agent is asked to wrap up, in seconds."
    )

    @model_validator(mode="after")
    def _soft_before_hard(self):
        hard, soft = self.max_runtime_seconds, self.soft_finish_after_seconds
        if hard is not None and soft is not None and soft >= hard:
            raise fault("softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
        return self


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


class Walled(Request):
    """How its container is limited and isolated."""

    limits: ResourceLimits | None = Field(None, description="Resource limits of the container.")
    isolation: Isolation | None = Field(None, description="Minimum isolation; `gvisor` needs runsc.")


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
