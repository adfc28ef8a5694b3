"""HTTP requests to a Unix socket. Each has its own connection and needs no thread."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import httptools


class NobodyListens(Exception):
    """The request was not sent."""


class NoAnswer(Exception):
    """The request may have been received, but there was no complete answer. Caused by TimeoutError after a timeout."""


class Response(NamedTuple):
    status: int
    body: bytes


async def request(socket: Path, method: str, target: str, body: bytes | None, seconds: float) -> Response:
    """`target`: path and query, quoted. `body`: JSON. `seconds`: timeout of the whole request."""
    try:
        async with asyncio.timeout(seconds):
            transport, exchange = await _connected(socket)
            try:
                transport.write(_written(method, target, body))
                return await exchange.answer
            finally:
                transport.abort()
    except TimeoutError as error:
        raise NoAnswer(f"no answer within {seconds:g} s") from error


async def _connected(socket: Path) -> "tuple[asyncio.Transport, _Exchange]":
    try:
        return await asyncio.get_running_loop().create_unix_connection(_Exchange, str(socket))
    except OSError as error:
        raise NobodyListens(str(error)) from error


def _written(method: str, target: str, body: bytes | None) -> bytes:
    content = b"" if body is None else b"Content-Type: application/json\r\n"
    length = b"Content-Length: %d\r\n" % len(body or b"")
    return b"%b %b HTTP/1.1\r\nHost: podman\r\n%b%b\r\n%b" % (
        method.encode(),
        target.encode(),
        content,
        length,
        body or b"",
    )


class _Exchange(asyncio.Protocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failed(f"not an HTTP response: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._failed(str(error or "the connection was closed"))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self.answer.done():
            self.answer.set_result(Response(self._parser.get_status_code(), b"".join(self._body)))

    def _failed(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(NoAnswer(why))
            self.answer.exception()  # marks the error as retrieved: after a timeout nobody awaits it
