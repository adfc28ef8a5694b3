"""What an agent's defaults and a task's overrides may set, as requests carry it and as answers show it.

A new setting stands here (in one of the parts, and in both answers), in `store/task_fields.py`, and as a column in
migrations.sql; flags of the command are in `cli/task_flags.py`, the page's form in `web/static/execution.js`.
"""

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault, optional
from agentcontainer_local.schemas.budgets import Budgeted
from agentcontainer_local.schemas.enums import AgentRuntime, Isolation, Provider, RuntimeRegion
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import Model, Seconds, Secret
from agentcontainer_local.schemas.limits import ResourceLimits
from agentcontainer_local.schemas.network import ABOUT_ALLOWED_HOSTS, ALLOWED_AND_OPEN, AllowedHosts
from agentcontainer_local.schemas.outputs import OutputPolicy


class ModelChoice(Request):
    """Provider, key and models."""

    provider: Provider | None = Field(None, description="LLM provider. Falls back to the account's default.")
    provider_api_key: Secret | None = Field(
        None, description="API key for the specified provider. Write-only; never returned in responses."
    )
    model: Model | None = None
    weak_model: Model | None = Field(None, description="A lighter model for auxiliary work.")

    def stored(self) -> dict[str, Any]:
        """What was given, by its names on the wire and without the key: fit for a JSON column."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"provider_api_key"})


class TimeLimits(Request):
    max_runtime_seconds: Seconds | None = Field(None, description="Maximum running time of the container, in seconds.")
    soft_finish_after_seconds: Seconds | None = Field(
        None, description="Running time after which the agent is asked to wrap up, in seconds."
    )

    @model_validator(mode="after")
    def _soft_before_hard(self) -> Self:
        hard, soft = self.max_runtime_seconds, self.soft_finish_after_seconds
        if hard is not None and soft is not None and soft >= hard:
            raise fault("softFinishAfterSeconds", "must be less than maxRuntimeSeconds")
        return self


class Sandboxed(Request):
    """Resource limits and isolation of the container."""

    limits: Extension[ResourceLimits | None] = Field(None, description="Resource limits of the container.")
    isolation: Extension[Isolation | None] = Field(None, description="Minimum isolation; `gvisor` needs runsc.")


class Network(Request):
    internet_access: bool | None = None
    allowed_hosts: Extension[AllowedHosts | None] = Field(
        None, description=ABOUT_ALLOWED_HOSTS, examples=[["*.example.org", "registry.example:8443"]]
    )

    @model_validator(mode="after")
    def _one_way_out(self) -> Self:
        if self.internet_access and self.allowed_hosts:
            raise fault("allowedHosts", ALLOWED_AND_OPEN)
        return self


REMOVABLE = {"weak_model", "soft_finish_after_seconds", "max_cost_usd", "max_tokens"}


class UpdateAgentDefaults(ModelChoice, TimeLimits, Budgeted, Sandboxed, Network):
    """Merged into what the agent has. null takes away a `providerApiKey`, `weakModel`, `softFinishAfterSeconds`,
    `maxCostUsd` or `maxTokens`."""

    output_policy: OutputPolicy | None = None
    runtime_region: RuntimeRegion | None = None


class AgentDefaults(UpdateAgentDefaults):
    model: Model
    internet_access: bool
    max_runtime_seconds: Seconds


class TaskOverrides(ModelChoice, TimeLimits, Budgeted, Sandboxed, Network):
    runtime: AgentRuntime | None = None
    output_policy: OutputPolicy | None = None
    runtime_region: RuntimeRegion | None = None


class MessageOverrides(ModelChoice, TimeLimits):
    """From this turn on."""


class AgentVersionDefaults(Shape):
    provider: Provider | None = Field(description="Configured LLM provider, or null if using account default.")
    has_provider_api_key: bool = Field(description="Whether a provider API key is set on this version.")
    model: str
    weak_model: str | None
    internet_access: bool
    allowed_hosts: Extension[list[str]] = Field(default_factory=list)
    max_runtime_seconds: int
    soft_finish_after_seconds: int | None
    max_cost_usd: Extension[float | None] = None
    max_tokens: Extension[int | None] = None
    output_policy: OutputPolicy
    runtime_region: RuntimeRegion
    limits: Extension[ResourceLimits] = Field(
        default_factory=ResourceLimits, description="Resource limits that this version sets."
    )
    isolation: Extension[Isolation] = "container"


class TaskResponseOverrides(Shape):
    """As asked for at dispatch; only what was."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)
    provider: Provider | None = optional()
    has_provider_api_key: bool | None = optional()
    runtime: AgentRuntime | None = optional()
    model: str | None = optional()
    weak_model: str | None = optional()
    internet_access: bool | None = optional()
    allowed_hosts: Extension[list[str] | None] = optional()
    max_runtime_seconds: int | None = optional()
    soft_finish_after_seconds: int | None = optional()
    max_cost_usd: Extension[float | None] = optional()
    max_tokens: Extension[int | None] = optional()
    output_policy: OutputPolicy | None = optional()
    runtime_region: RuntimeRegion | None = optional()
    limits: Extension[ResourceLimits | None] = optional()
    isolation: Extension[Isolation | None] = optional()
