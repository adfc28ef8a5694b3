"""Parses request bodies and query strings, or refuses them."""

import json
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request

from agentcontainer_local.errors import (
    BadRequest,
    Invalid,
    Problem,
    TooLarge,
    Unavailable,
    UnsupportedEncoding,
    UnsupportedMediaType,
)
from agentcontainer_local.schemas import faults

Shape = TypeVar("Shape", bound=BaseModel)

MAX_LISTED_FAULTS = 20
BOM = "\ufeff".encode()  # some editors and shells write one before JSON
IN_MEMORY_BYTES = 32 * 1024  # of an incomplete body


async def read(request: Request, most: int, folder: Path) -> bytes:
    """The complete body. Raises TooLarge as soon as the size is known.

    An incomplete body is stored on disk, in `folder`: many bodies that never end would use up the memory.
    """
    too_large = TooLarge(f"The request body is larger than {most} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    size = 0
    try:
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(folder)) as whole:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                whole.write(part)
            whole.seek(0)
            return whole.read()
    except OSError as error:
        raise Unavailable(f"The request body can't be stored: {error.strerror}.") from None


def check_encoding(request: Request) -> None:
    """Raises UnsupportedEncoding for compressed bodies, because they would be stored or parsed as they are."""
    if _codings(request, "content-encoding") - {"identity"} or _codings(request, "transfer-encoding") - {"chunked"}:
        raise UnsupportedEncoding()


def _codings(request: Request, name: str) -> set[str]:
    """The codings in a header, which may be given in several lines."""
    listed = ",".join(request.headers.getlist(name)).split(",")
    return {coding.strip().lower() for coding in listed} - {""}


def parse(shape: type[Shape], text: bytes, content_type: str | None, required: bool = True) -> Shape:
    """Parses `text`. Raises BadRequest (400) if it is not JSON, UnsupportedMediaType (415) for another content type,
    and Invalid (422) if it does not fit the shape."""
    text = text.removeprefix(BOM)
    if not text:
        if required:
            raise BadRequest("A JSON body is required.")
        text = b"{}"
    elif not _is_json(content_type):
        raise UnsupportedMediaType("The body must be JSON, sent with `Content-Type: application/json`.")
    try:
        return shape.model_validate_json(text)
    except ValidationError as error:
        raise _problem(error) from None


def _is_json(content_type: str | None) -> bool:
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def query(shape: type[Shape], given: QueryParams) -> Shape:
    """Parses a query string. An empty parameter, such as `?cursor=`, counts as missing."""
    try:
        return shape.model_validate({name: value for name, value in given.multi_items() if value})
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BadRequest(f"The request body is not valid JSON: {first['ctx']['error']}.")
    fields = faults.found(error)[:MAX_LISTED_FAULTS]
    return Invalid("; ".join(f"{field['field']}: {field['message']}" for field in fields), fields)


def dumps(value: Any) -> bytes:
    # Not ensure_ascii=False: a fault's field name may hold what UTF-8 cannot.
    return json.dumps(value, separators=(",", ":")).encode()
