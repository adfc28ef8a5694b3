"""Agents and their versions."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault
from agentcontainer_local.schemas.containers import WRITABLE, RuntimeStatus, WritablePaths
from agentcontainer_local.schemas.enums import AgentRuntime
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import Id, Image, Name, Timestamp
from agentcontainer_local.schemas.pages import Page
from agentcontainer_local.schemas.skills import Skill, Skills
from agentcontainer_local.schemas.task_settings import AgentDefaults, AgentVersionDefaults, UpdateAgentDefaults


class AgentImage(Request):
    container_image: Image
    agent_runtime: AgentRuntime
    writable_paths: Extension[WritablePaths | None] = Field(None, description=WRITABLE, examples=[["/testbed"]])


class AgentContainer(Request):
    """Where it runs: a container, one version of a container, or an image; at most one of the three."""

    container_id: Id | None = None
    container_version_id: Id | None = None
    runtime: AgentImage | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.runtime and (self.container_id or self.container_version_id):
            raise fault("runtime", "give either runtime or a container, not both")
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
    runtime: Extension[RuntimeStatus] = Field(default_factory=lambda: RuntimeStatus(container_image=None))
    current_version: AgentVersion
    created_at: Timestamp


class ListAgentsResponse(Page[Agent]):
    pass


class ListAgentVersionsResponse(Page[AgentVersion]):
    pass
