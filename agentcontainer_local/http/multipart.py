"""Reads one field of a multipart body as a stream, without a copy in memory or on disk."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from agentcontainer_local.errors import BadRequest, UnsupportedEncoding

if TYPE_CHECKING:  # python_multipart defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

SENDS = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        }
    }
}
# A file that was encoded for the transfer would be stored encoded.
PACKING = (b"content-encoding", b"content-transfer-encoding")
PLAIN = (b"identity", b"binary", b"8bit", b"7bit")


def is_multipart(request: Request) -> bool:
    return parse_options_header(request.headers.get("content-type"))[0] == b"multipart/form-data"


class _Parts:
    """The parser's callbacks. Collects the data of the first part with the wanted name."""

    def __init__(self, wanted: str):
        self.wanted = wanted.encode()
        self.bytes: list[memoryview] = []  # no copies, because this is all the data
        self.seen = self.inside = self.ended = self.packed = False
        self.header = self.value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all_end,
        }

    def _begin(self) -> None:
        self.inside = False

    def _field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def _header_end(self) -> None:
        if self.header.lower() == b"content-disposition":
            name = parse_options_header(self.value)[1].get(b"name")
            if name == self.wanted and not self.seen:
                self.seen = self.inside = True
        if self.header.lower() in PACKING and self.value.strip().lower() not in PLAIN:
            self.packed = True
        self.header = self.value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.inside:
            self.bytes.append(memoryview(data)[start:end])

    def _end(self) -> None:
        self.inside = False

    def _all_end(self) -> None:
        self.ended = True


async def field(request: Request, name: str) -> AsyncIterator[memoryview]:
    """The data of the first field called `name`. Raises BadRequest if the body is incomplete or has no such field."""
    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
    if not boundary:
        raise BadRequest("The Content-Type has no multipart boundary.")
    parts = _Parts(name)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            if parts.packed:
                raise UnsupportedEncoding()
            for piece in parts.bytes:
                yield piece
            parts.bytes.clear()
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"The multipart body is malformed: {error}.") from None
    if not parts.ended:
        raise BadRequest("The multipart body is incomplete.")
    if not parts.seen:
        raise BadRequest(f"The multipart body has no field `{name}`.")
