"""Tasks."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault, optional, required
from agentcontainer_local.schemas.budgets import Budget
from agentcontainer_local.schemas.containers import RuntimeStatus
from agentcontainer_local.schemas.enums import (
    RuntimeRegion,
    TaskMode,
    TaskModeChange,
    TaskStatus,
    TurnStatus,
)
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import Id, Metadata, Name, Text, Timestamp
from agentcontainer_local.schemas.files import WithInputs
from agentcontainer_local.schemas.limits import TaskWalls
from agentcontainer_local.schemas.pages import Page, PageQuery
from agentcontainer_local.schemas.providers import Execution
from agentcontainer_local.schemas.skills import Skill, Skills
from agentcontainer_local.schemas.task_settings import TaskOverrides, TaskResponseOverrides
from agentcontainer_local.schemas.usage import CurrentModelCall, TokenUsage


class Titled(Request):
    title_source: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Accepted for compatibility. It has no effect."
    )


class NewTask(WithInputs, Titled):
    version_id: Id | None = Field(None, description="If omitted, the agent's current version is used.")
    metadata: Metadata | None = None
    overrides: TaskOverrides | None = None
    skills: Skills | None = Field(
        None, description="For this task, beside those of its agent. They need `internetAccess`."
    )
    title: Name | None = Field(
        None, description="Default: the first line of the instructions, or of a conversation's first message."
    )


class CreateTaskRequest(NewTask):
    model_config = ConfigDict(json_schema_extra=required("instructions"))
    instructions: Text | None = Field(None, description="Instructions for the agent.")
    description: Text | None = Field(
        None,
        description="The older name of `instructions`; accepted in its place.",
        json_schema_extra={"deprecated": True},
    )

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if self.instructions is None and self.description is None:
            raise fault("instructions", "Field required")
        if self.instructions and self.description and self.instructions != self.description:
            raise fault(
                "description", "is the older name of instructions: give only one of them, or the same text in both"
            )
        self.instructions = self.instructions or self.description
        return self


class UpdateTaskRequest(Titled):
    title: Name | None = None
    mode: TaskModeChange | None = Field(
        None, description="Makes a conversation autonomous: the agent completes the work alone."
    )


class Task(Shape):
    id: str
    agent_id: str
    agent_name: str
    agent_version_id: str
    container_version_id: str
    mode: TaskMode
    status: TaskStatus
    title: str
    instructions: str
    description: str = Field(
        description="The same as `instructions`, under its older name.", json_schema_extra={"deprecated": True}
    )
    runtime_region: RuntimeRegion
    overrides: TaskResponseOverrides
    metadata: dict[str, Any] = Field(
        description="Metadata from the caller, and `completion` after the task has finished."
    )
    created_at: Timestamp
    started_at: Timestamp | None
    completed_at: Timestamp | None
    result: str | None = Field(description="The agent's finish message.")
    error: str | None
    cost_usd: float = Field(description="Container time so far, in USD.")
    container_minutes: float
    token_usage: TokenUsage
    model_call: Extension[CurrentModelCall | None] = optional(description="Running model call; null if there is none.")
    budget: Extension[Budget | None] = Field(None, description="The task's own settings; null if it has none.")
    execution: Execution
    runtime: RuntimeStatus
    skills: list[Skill] = Field(description="Skills of this task, in addition to the agent's.")
    walls: Extension[TaskWalls | None] = Field(None, description="null until it has a container.")
    turn_status: TurnStatus | None = Field(description="null when autonomous.")
    turn_number: int | None = Field(description="null when autonomous.")
    session_ttl_seconds: int | None
    hibernate_until_at: Timestamp | None
    wake_due_id: Extension[str | None] = Field(
        None, description="Id of this hibernation. A wake with this id does not end a later one."
    )
    queue_position: Extension[int | None] = Field(
        None, description="Position in the queue: 1 is next; null if not pending."
    )
    preparing: Extension[str | None] = optional(description="Progress of building or pulling the image.")


class TaskPageQuery(PageQuery):
    status: Extension[TaskStatus | None] = Field(None, description="Only tasks with this status.")
    search: Extension[Annotated[str, Field(max_length=200)] | None] = Field(
        None, description="Only tasks whose title contains this text."
    )


class ListTasksResponse(Page[Task]):
    pass
