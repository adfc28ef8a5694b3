"""Agents and their versions."""

from typing import Annotated

from pydantic import Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault
from agentcontainer_local.schemas.budgets import Budgeted
from agentcontainer_local.schemas.containers import WRITABLE, RuntimeStatus, WritablePaths
from agentcontainer_local.schemas.enums import AgentRuntime, Isolation, Provider, RuntimeRegion
from agentcontainer_local.schemas.fields import Id, Image, Model, Name, Seconds, Timestamp
from agentcontainer_local.schemas.limits import Limits, ResourceLimits, Walled
from agentcontainer_local.schemas.network import Network
from agentcontainer_local.schemas.outputs import OutputPolicy
from agentcontainer_local.schemas.pages import Page
from agentcontainer_local.schemas.providers import Thinking
from agentcontainer_local.schemas.skills import Skill, Skills

REMOVABLE = {"weak_model", "soft_finish_after_seconds", "max_cost_usd", "max_tokens"}


class UpdateAgentDefaults(Thinking, Limits, Budgeted, Walled, Network):
    """Merged into what the agent has. null takes away a `providerApiKey`, `weakModel`, `softFinishAfterSeconds`,
    `maxCostUsd` or `maxTokens`."""

    output_policy: OutputPolicy | None = None
    runtime_region: RuntimeRegion | None = None


class AgentDefaults(UpdateAgentDefaults):
    model: Model
    internet_access: bool
    max_runtime_seconds: Seconds


class AgentImage(Request):
    container_image: Image
    agent_runtime: AgentRuntime
    writable_paths: WritablePaths | None = Field(None, description=WRITABLE, examples=[["/testbed"]])


class AgentContainer(Request):
    """Where it runs: a container, one version of a container, or an image; at most one of the three."""

    container_id: Id | None = None
    container_version_id: Id | None = None
    runtime: AgentImage | None = None

    @model_validator(mode="after")
    def _one_place(self):
        if self.runtime and (self.container_id or self.container_version_id):
            raise fault("runtime", "give either runtime or a container")
        return self


class CreateAgentRequest(AgentContainer):
    name: Name
    description: str | None = None
    base_prompt: str
    defaults: AgentDefaults
    skills: Skills | None = None


class UpdateAgentRequest(AgentContainer):
    name: Name | None = None
    description: str | None = None
    base_prompt: str | None = None
    defaults: UpdateAgentDefaults | None = None
    skills: Skills | None = None


class AttachReferenceFilesRequest(Request):
    file_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class AgentVersionDefaults(Shape):
    provider: Provider | None = Field(description="Configured LLM provider, or null if using account default.")
    has_provider_api_key: bool = Field(description="Whether a provider API key is set on this version.")
    model: str
    weak_model: str | None
    internet_access: bool
    allowed_hosts: list[str]
    max_runtime_seconds: int
    soft_finish_after_seconds: int | None
    max_cost_usd: float | None
    max_tokens: int | None
    output_policy: OutputPolicy
    runtime_region: RuntimeRegion
    limits: ResourceLimits = Field(description="Names of the secrets that this version sets.")
    isolation: Isolation


class AgentVersion(Shape):
    id: str
    number: int
    container_version_id: str
    runtime: RuntimeStatus
    base_prompt: str
    defaults: AgentVersionDefaults
    skills: list[Skill]
    created_at: Timestamp


class Agent(Shape):
    id: str
    name: str
    description: str
    is_standard: bool
    archived_at: Timestamp | None
    runtime: RuntimeStatus
    current_version: AgentVersion
    created_at: Timestamp


class ListAgentsResponse(Page[Agent]):
    pass


class ListAgentVersionsResponse(Page[AgentVersion]):
    pass
