"""What happened in a task: the `data` of each event, as the stream sends it and as pages list it."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from agentcontainer_local import lifecycle
from agentcontainer_local.schemas.base import Shape, optional
from agentcontainer_local.schemas.enums import (
    MessageRole,
    ModelCallState,
    Order,
    Outcome,
    TaskMode,
    TaskStatus,
    TurnStatus,
)
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import MAX_INTEGER, Timestamp
from agentcontainer_local.schemas.pages import Page, PageQuery

if TYPE_CHECKING:
    TaskUpdate = str  # a type checker can't know the table that the values come from
else:
    TaskUpdate = TypeAliasType("TaskUpdate", Literal[tuple(sorted({*lifecycle.EVENTS, "created", "turn", "mode"}))])


class EventData(Shape):
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)


class TaskUpdatedData(EventData):
    type: Literal["task.updated"]
    event: TaskUpdate = Field(description="Event of the task.")
    status: TaskStatus = Field(description="Status after the event.")
    from_: TaskStatus = optional(alias="from", description="Status before the event, if it changed.")
    result: str = optional(description="The agent's finish message.")
    error: str = optional(description="Why it failed.")
    reason: str = optional(description="Reason for an interruption, a hibernation or a wake.")
    mode: TaskMode = optional()
    turn_number: int = optional()
    turn_status: TurnStatus = optional()


class MessageCreatedData(EventData):
    type: Literal["message.created"]
    id: str
    role: MessageRole
    status: TurnStatus
    content: str
    turn_number: int | None


class MessageUpdatedData(EventData):
    type: Literal["message.updated"]
    id: str
    role: MessageRole
    status: TurnStatus
    error: str | None = optional()
    added: str = optional(description="Further text of the agent. The answer continues.")
    content: str = optional(description="The whole answer, after its end.")


class MessageDeltaData(EventData):
    """Live only: it is never stored, and has no `id:` in the stream."""

    type: Literal["message.delta"]
    text: str = Field(description="Next part of the answer. `message.updated` repeats the whole text.")


class ModelCallData(EventData):
    """Live only, each second while a call to the model is at work: it is never stored, and has no `id:`."""

    type: Literal["model.call"]
    state: ModelCallState = Field(description="`waiting`: no part of the answer has arrived yet.")
    model: str
    attempt: int = Field(description="Number of the attempt: 1, plus the failed calls directly before it.")
    waited_seconds: float = Field(description="Seconds that the call waited for the first part of its answer.")
    received_characters: int = Field(description="Characters of the answer received so far.")


class ActivityStartedData(EventData):
    type: Literal["activity.started"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    input: Any = Field(description="Input of the tool; null if it was too large.")


class ActivityOutputData(EventData):
    """Live only: it is never stored, and has no `id:` in the stream."""

    type: Literal["activity.output"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    text: str = Field(description="Latest output of the tool. It replaces the previous event.")


class ActivityCompletedData(EventData):
    type: Literal["activity.completed"]
    id: str
    call_id: str
    tool_key: str = Field(examples=["shell"])
    status: Outcome
    error_code: str | None
    duration_ms: int
    output: str | None = Field(description="Result of the tool; null if it was interrupted.")


class NoticeData(EventData):
    """Something that an operator may want to know, such as a failed model call that is tried again."""

    type: Literal["notice"]
    kind: str = Field(examples=["retrying"])
    message: str = optional()
    attempt: int = optional(description="For `retrying`: number of calls that failed in a row.")
    delay_ms: int = optional(description="For `retrying`: wait before the next attempt.")
    reason: str = optional()
    host: str | None = optional(description="For `egress_denied`: host and port of the refused connection.")
    port: int | None = optional()
    addresses: list[str] = optional()


TaskEventData = TypeAliasType(
    "TaskEventData",
    Annotated[
        TaskUpdatedData
        | MessageCreatedData
        | MessageUpdatedData
        | MessageDeltaData
        | ModelCallData
        | ActivityStartedData
        | ActivityOutputData
        | ActivityCompletedData
        | NoticeData,
        Field(discriminator="type"),
    ],
)
TaskEventName = TypeAliasType(
    "TaskEventName",
    Literal[
        "task.updated",
        "message.created",
        "message.updated",
        "message.delta",
        "model.call",
        "activity.started",
        "activity.output",
        "activity.completed",
        "notice",
    ],
)


class _Written:
    """It is sent as it was stored, which nobody checks again, but documented as what it is."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(TypeAdapter(TaskEventData).core_schema)


class TaskEvent(Shape):
    """One thing that happened, as the stream sends it: `id:` and `event:` lines, and `data` as its data."""

    id: int = Field(description="Increasing number. Resume with `?after=` or `Last-Event-ID`.")
    event: TaskEventName
    data: Annotated[Any, _Written()]
    created_at: Timestamp


class EventQuery(PageQuery):
    order: Extension[Order] = Field("asc", description="Oldest first (asc) or newest first (desc).")
    stream: bool = Field(False, description="Server-sent events instead of a page.")
    after: Extension[int | None] = Field(None, ge=0, le=MAX_INTEGER, description="Only events with a greater number.")
    api_key: str | None = Field(None, description="The API key, for browsers' EventSource, which can't send headers.")


class ListTaskEventsResponse(Page[TaskEvent]):
    pass
