"""Errors."""

from pydantic import ConfigDict, Field

from agentcontainer_local.schemas.base import Shape


class ErrorDetail(Shape):
    model_config = ConfigDict(extra="allow")
    code: str = Field(examples=["not_found"])
    message: str = Field(description="Error message: problem and remedy.")


class ErrorResponse(Shape):
    """Every answer that is not a success. `error` may carry more: a 422 lists the `fields` at fault."""

    error: ErrorDetail
