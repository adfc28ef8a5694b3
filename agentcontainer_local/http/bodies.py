"""Request bodies and query strings, parsed into shapes or refused."""

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
IN_MEMORY_BYTES = 32 * 1024  # of a body that is not whole yet


async def read(request: Request, most: int, folder: Path) -> bytes:
    """The whole body; raises TooLarge as soon as that is known.

    While it comes it is in `folder`, on disk: many that never end would take the memory.
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
    """What was packed would be stored or read as it came."""
    if _codings(request, "content-encoding") - {"identity"} or _codings(request, "transfer-encoding") - {"chunked"}:
        raise UnsupportedEncoding()


def _codings(request: Request, name: str) -> set[str]:
    """A list in a header may be given in several lines."""
    listed = ",".join(request.headers.getlist(name)).split(",")
    return {coding.strip().lower() for coding in listed} - {""}


def parse(shape: type[Shape], text: bytes, content_type: str | None, required: bool = True) -> Shape:
    """`text` as `shape`: 400 when it is not JSON, 415 when it does not say that it is, 422 when it does not fit."""
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
    """An empty parameter is as one that is not there: `?cursor=`, `?after=`."""
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
