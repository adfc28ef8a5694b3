"""The file format of a recording, version 1: the model calls of one task.

A request is the task's part of a call: path, two headers, and the body as structure. From the second call on, the body
is a change of an earlier one, so that a recording reads like a conversation. An answer is its text in pieces, with the
milliseconds since the request.
"""

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

VERSION = 1

# How an answer ended, if the provider did not end it normally. `left`: the task ended the call.
Cut = Literal["refused", "unknown_host", "disconnected", "cut", "silent", "left"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Piece(_Shape):
    at_ms: int = Field(0, ge=0)
    text: str | None = None
    base64: str | None = None  # for content that is not text

    @model_validator(mode="after")
    def _has_one(self) -> "Piece":
        if (self.text is None) == (self.base64 is None):
            raise ValueError("give either `text` or `base64`")
        _ = self.content
        return self

    @property
    def content(self) -> bytes:
        return self.text.encode() if self.text is not None else base64.b64decode(self.base64 or "", validate=True)


class Answer(_Shape):
    """`status` is None if no answer came."""

    status: int | None = Field(None, ge=200, le=599)
    reason: str | None = None
    headers: dict[str, str] = {}
    pieces: list[Piece] = []
    ended: Cut | None = None

    @model_validator(mode="after")
    def _came(self) -> "Answer":
        if self.status is None and self.ended is None:
            raise ValueError("give `status`, or say with `ended` why there is none")
        return self


class Change(_Shape):
    """A change of an earlier call's body. `of_call` counts from 1. The new body has the first `keep` messages and then
    `add`, the fields in `set`, and none of `drop`."""

    of_call: int = Field(ge=1)
    keep: int = Field(ge=0)
    add: list[Any] = []
    set: dict[str, Any] = {}
    drop: list[str] = []


class Request(_Shape):
    path: str
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    change: Change | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "Request":
        if (self.body is None) == (self.change is None):
            raise ValueError("give either `body` or `change`")
        return self


class Call(_Shape):
    request: Request
    answer: Answer


class About(_Shape):
    """The recorded task. `backend`: where its agent ran."""

    agent: str
    mode: Literal["autonomous", "conversation"]
    backend: str
    provider: str
    model: str
    instructions: str
    message: str | None = None  # the first message of a conversation


class Head(_Shape):
    cassette: Annotated[int, Field(strict=True)]
    recorded: str
    agentcontainer: str
    task: About


class Cassette(Head):
    calls: list[Call] = Field(min_length=1)
    ended: str  # the task's status; missing in an incomplete recording

    @model_validator(mode="after")
    def _refers_back(self) -> "Cassette":
        for number, call in enumerate(self.calls, 1):
            if call.request.change is not None and call.request.change.of_call >= number:
                raise ValueError(f"calls.{number - 1}.request.change.of_call is not the number of an earlier call")
        return self


def why(error: ValidationError) -> str:
    """The first error, and where it is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
