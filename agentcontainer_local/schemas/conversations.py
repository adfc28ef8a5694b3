"""Conversations: messages and the activities between them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault
from agentcontainer_local.schemas.enums import MessageRole, Outcome, TurnStatus, WakeKind
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import MAX_INTEGER, Id, SessionTtl, Text, Timestamp
from agentcontainer_local.schemas.files import File, FileIds, WithInputs
from agentcontainer_local.schemas.pages import PublishedPage, TranscriptQuery
from agentcontainer_local.schemas.task_settings import MessageOverrides
from agentcontainer_local.schemas.tasks import NewTask, Task
from agentcontainer_local.schemas.usage import TokenUsage


class CreateConversationRequest(NewTask):
    instructions: Text
    message: Text
    session_ttl_seconds: Extension[SessionTtl | None] = Field(
        None, description="Maximum wait for the next message, in seconds."
    )


class CreateMessageRequest(WithInputs):
    content: Text
    input_file_ids: Extension[FileIds | None] = None
    overrides: MessageOverrides | None = None


class WakeRequest(Request):
    kind: WakeKind
    message: Text | None = None
    wake_due_id: Id | None = None
    overrides: MessageOverrides | None = None

    @model_validator(mode="after")
    def _message_with_its_kind(self) -> Self:
        if (self.kind == "message") != (self.message is not None):
            raise fault("message", "is required if kind is message, and not allowed otherwise")
        return self


class Message(Shape):
    id: str
    turn_number: int | None
    attempt_number: int
    role: MessageRole
    status: TurnStatus
    content: str
    error: Extension[str | None] = None
    files: list[File]
    token_usage: TokenUsage | None
    cost_usd: float | None
    sequence: int
    created_at: Timestamp


class ListMessagesResponse(PublishedPage[Message]):
    pass


class TaskAndMessage(Shape):
    task: Task
    message: Message


class Activity(Shape):
    id: str
    turn_number: int | None
    attempt_number: int
    started_sequence: int
    completed_sequence: int | None
    kind: Literal["tool"] = "tool"
    call_id: str
    tool_key: str = Field(examples=["shell"])
    input: Any
    input_omitted_reason: str | None
    status: Outcome | None = Field(description="null while it runs.")
    error_code: str | None
    started_at: Timestamp
    completed_at: Timestamp | None
    duration_ms: int | None = Field(description="Time from startedAt to completedAt; null while it runs.")


class ListActivitiesResponse(PublishedPage[Activity]):
    pass


class ActivityQuery(TranscriptQuery):
    from_turn: int | None = Field(None, ge=0, le=MAX_INTEGER)
    to_turn: int | None = Field(None, ge=0, le=MAX_INTEGER)
