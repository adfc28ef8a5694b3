"""Types of fields that several schemas have, with what they accept."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError


def _said(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


def whole(value: Any) -> Any:
    """In JSON 5.0 is an integer too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        raise PydanticCustomError("not_json", "must be plain JSON with finite numbers") from None
    return value


def _stripped(value: Any) -> Any:
    """Keys come from files, with a line ending."""
    return value.strip() if isinstance(value, str) else value


MAX_RUNTIME_SECONDS = 604_800
MAX_WINDOW_TOKENS = 10_000_000  # of a model, input and output together
MAX_INTEGER = 2**63 - 1  # of SQLite: sizes, and numbers of events and turns

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-03-25T09:30:00.000Z"])]
Id = Annotated[str, Field(min_length=1, max_length=100)]
# Written so that it means the same to who searches for it, to who matches from the start, and to who matches all.
SAID = {"minLength": 1, "pattern": r"^[\s\S]*\S[\s\S]*$"}
Name = Annotated[str, Field(max_length=200, json_schema_extra=SAID), AfterValidator(_said)]
Text = Annotated[str, Field(json_schema_extra=SAID), AfterValidator(_said)]
Metadata = Annotated[dict[str, Any], AfterValidator(_finite)]
Image = Annotated[
    str,
    Field(max_length=500, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$", examples=["docker.io/library/python:3.13-slim"]),
]
Model = Annotated[str, Field(max_length=200, pattern=r"^[^\s-]\S*$", examples=["claude-sonnet-4-5"])]
SECRET = r"^[!-~]+$"  # it becomes part of a header
URL = r"^https?://[!-~]+$"
Secret = Annotated[
    str,
    BeforeValidator(_stripped),
    Field(
        min_length=1, max_length=1000, pattern=SECRET, examples=["sk-ant-..."], json_schema_extra={"writeOnly": True}
    ),
]
Seconds = Annotated[int, Field(ge=1, le=MAX_RUNTIME_SECONDS), BeforeValidator(whole)]
SessionTtl = Annotated[int, Field(ge=60, le=MAX_RUNTIME_SECONDS), BeforeValidator(whole)]
