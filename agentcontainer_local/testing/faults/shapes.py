"""Faults as a test asks for them, in Python and over HTTP."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from agentcontainer_local.schemas.base import Request, Shape, fault
from agentcontainer_local.schemas.fields import whole

MAX_SECONDS = 30 * 86_400
Count = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(whole)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


def _match(given: Any) -> Any:
    """Over HTTP, `{"pattern": …}` is a pattern, as in a script."""
    match given:
        case str() | re.Pattern(pattern=str()):
            return given
        case {"pattern": str(pattern)} if len(given) == 1:
            try:
                return re.compile(pattern)
            except re.error as error:
                raise ValueError(f"Not a regular expression: {error}") from None
    raise ValueError("Must be text or a pattern")


Text = Annotated[
    str | re.Pattern[str],
    BeforeValidator(_match),
    Field(description='A part of the text, or a pattern: compiled in Python, `{"pattern": …}` over HTTP.'),
]


class Fault(Request):
    kind: str


class OfTasks(Fault):
    """Only in tasks that have all that is given."""

    times: Count = Field(1, description="How often it happens in each task.")
    agent: str | None = Field(None, description="Id or name of the agent.")
    instructions: Text | None = None
    model: Text | None = None
    metadata: dict[str, Any] | None = None


class ProviderFault(OfTasks):
    """A call to the model provider fails. Every attempt counts as a call."""

    kind: Literal["provider"] = "provider"
    fault: Literal[429, 529, "timeout", "cut_stream", "slow_stream", "refusal", "overflow"]
    call: Count = Field(1, description="Number of the task's model call at which it happens first.")
    retry_after: Seconds | None = Field(None, description="Of a 429 or 529: seconds in the Retry-After header.")
    seconds: Seconds | None = Field(None, description="Until a timeout, or between the pieces of a slow stream.")
    pieces: Count | None = Field(None, description="Pieces of the answer before a stream is cut.")

    @model_validator(mode="after")
    def _what_it_needs(self) -> Self:
        _only(self, "retry_after", (429, 529))
        _only(self, "seconds", ("timeout", "slow_stream"))
        _only(self, "pieces", ("cut_stream",))
        return self


class HttpFault(Fault):
    """A request of a client is answered with an error, late, or not at all."""

    kind: Literal["http"] = "http"
    fault: Literal[429, 500, 503, "dropped", "dropped_after", "delayed"]
    times: Count = Field(1, description="Number of requests that it happens to.")
    method: str | None = None
    path: str | None = Field(
        None, description="With or without /api/v1; `*` and `{taskId}` stand for any part between two slashes."
    )
    retry_after: Seconds | None = Field(None, description="Of a 429 or 503: seconds in the Retry-After header.")
    seconds: Seconds | None = Field(None, description="Delay, in seconds.")

    @model_validator(mode="after")
    def _what_it_needs(self) -> Self:
        if self.method is not None and self.method.upper() not in METHODS:
            raise fault("method", "is not a method of HTTP, such as POST")
        if self.path is not None and not self.path.startswith("/"):
            raise fault("path", "must begin with /")
        _only(self, "retry_after", (429, 503))
        _only(self, "seconds", ("delayed",))
        if self.fault == "delayed" and self.seconds is None:
            raise fault("seconds", "is required if fault is delayed")
        return self


class KillFault(OfTasks):
    """The task's container is killed."""

    kind: Literal["kill"] = "kill"
    event: Count = Field(1, description="It is killed as soon as the task has this many events.")


class DiskFault(Fault):
    """The disk of the server's data is full, until the faults are removed."""

    kind: Literal["disk_full"] = "disk_full"


def _only(given: Any, name: str, allowed: tuple[int | str, ...]) -> None:
    if getattr(given, name) is not None and given.fault not in allowed:
        alias = type(given).model_fields[name].alias or name
        raise fault(alias, f"is only for {' and '.join(map(str, allowed))}")


SHAPES: dict[str, type[Fault]] = {
    "provider": ProviderFault,
    "http": HttpFault,
    "kill": KillFault,
    "disk_full": DiskFault,
}


class Kind(Shape):
    model_config = ConfigDict(extra="allow")
    kind: Literal["provider", "http", "kill", "disk_full"]


class PlannedFault(Shape):
    """A fault as the server has it."""

    model_config = ConfigDict(extra="allow")
    id: str
    kind: str
    happened: int = Field(description="How often it has happened.")


class ListFaultsResponse(Shape):
    data: list[PlannedFault]
