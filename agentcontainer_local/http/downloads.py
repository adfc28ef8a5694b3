"""Answers with stored files. They are always downloads, whatever their name and type."""

import re
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from agentcontainer_local.errors import NotFound, RangeNotSatisfiable
from agentcontainer_local.store.db import Row
from agentcontainer_local.store.files import checked

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# characters that need no escape in filename* (RFC 8187)
PLAIN = "!#$&+-.^_`|~"


TYPE = "application/octet-stream"
BYTES = {TYPE: {"schema": {"type": "string", "format": "binary"}}}
ETAG = {"ETag": {"description": "Identifies the file's content.", "schema": {"type": "string"}}}
# For the OpenAPI document.
HEADERS = {
    "Range": "Range of bytes, for example `bytes=0-1023`. By default the whole file.",
    "If-Range": "ETag that `Range` refers to. If the file has another ETag, the whole file is sent.",
    "If-None-Match": "ETags of the client's copies. If one matches, the answer is 304.",
}
ALSO = {
    "206": {
        "description": "The requested range of bytes",
        "content": BYTES,
        "headers": {
            **ETAG,
            "Content-Range": {"description": "Position of the range in the file.", "schema": {"type": "string"}},
        },
    },
    "304": {"description": "`If-None-Match` names this file", "headers": ETAG},
}


class Download(FileResponse):
    chunk_size = 256 * 1024


async def download(request: Request, file: Row, place: Path) -> Response:
    """The answer with a file. A complete file is compared with its SHA-256; raises files.checked.Damaged.

    Starlette handles Range and If-Range. An invalid range is ignored (RFC 9110).
    """
    etag = f'"{file["sha256"]}"'
    headers = {
        "etag": etag,
        "content-disposition": disposition(file["filename"]),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
        "cache-control": "private, no-cache",
    }
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if request.method != "GET" or not _range_counts(request.headers, etag, file["size_bytes"]):
        request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    try:
        found = place.stat()
    except FileNotFoundError:  # deleted since its row was read
        raise NotFound("The file has been deleted.") from None
    whole = request.method == "GET" and not any(name == b"range" for name, _ in request.scope["headers"])
    if not whole or await _is_known(file, place):
        return Download(place, headers=headers, media_type=TYPE, stat_result=found)
    headers |= {
        "content-length": str(found.st_size),
        "accept-ranges": "bytes",
        "last-modified": formatdate(found.st_mtime, usegmt=True),
    }
    return StreamingResponse(checked.chunks(file, place), headers=headers, media_type=TYPE)


async def _is_known(file: Row, place: Path) -> bool:
    try:
        return await checked.require(file, place)
    except checked.Damaged:
        if place.exists():
            raise
        raise NotFound("The file has been deleted.") from None


def _names(if_none_match: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag in tags or "*" in tags


def _range_counts(headers: Mapping[str, str], etag: str, size: int) -> bool:
    """Whether to send only the range. Raises RangeNotSatisfiable if the file has no such range."""
    if headers.get("if-range", etag) != etag:
        return False
    asked = RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if asked is None or asked.group(1) == asked.group(2) == "":
        return False
    start, end = asked.groups()
    if start and end and int(start) > int(end):
        return False
    if (int(start) >= size) if start else (int(end) == 0 or size == 0):
        raise RangeNotSatisfiable(size)
    return True


def disposition(filename: str) -> str:
    """Content-Disposition with an ASCII name for old clients, and the exact name (RFC 6266). The name can't end the
    header."""
    ascii_name = "".join(c if " " <= c <= "~" and c not in '"\\/%' else "_" for c in filename)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(filename, safe=PLAIN)}"
