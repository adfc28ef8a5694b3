"""Answers from a recording, in the form of a provider's response."""

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from agentcontainer_local.gateway.cassettes.document import Answer, Cut
from agentcontainer_local.gateway.upstream import Content, Response
from agentcontainer_local.process.clock import Clock

PAUSES = ("retry-after", "retry-after-ms")


@dataclass(frozen=True)
class Passed:
    """A Response from a recording."""

    status: int
    reason: str | None
    headers: Mapping[str, str]
    content: Content

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((name.encode(), value.encode()) for name, value in self.headers.items())

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Pace:
    """The timing of a replay, by the server's clock. `began`: when the request was sent; None: no pauses."""

    clock: Clock
    began: float | None
    idle_seconds: float

    async def until(self, second: float) -> None:
        """Waits until this many seconds after the request."""
        left = 0.0 if self.began is None else self.began + second - self.clock.steady()
        await (self.clock.sleep(left) if left > 0 else asyncio.sleep(0))

    async def silence(self) -> None:
        """Waits for as long as a provider may be silent."""
        await self.clock.sleep(self.idle_seconds)


async def told(answer: Answer, url: URL, pace: Pace) -> Response:
    """The response for a recorded answer. If there was none, raises the recorded connection error."""
    content = _Told(answer, url, pace)
    if answer.status is None:
        await content.read()
        raise aiohttp.ServerDisconnectedError
    return Passed(answer.status, answer.reason or _phrase(answer.status), answer.headers, content)


class _Told:
    def __init__(self, answer: Answer, url: URL, pace: Pace):
        self._pieces = [(piece.at_ms / 1000, piece.content) for piece in reversed(answer.pieces)]
        self._answer, self._url, self._pace = answer, url, pace

    async def iter_any(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def read(self, n: int = -1) -> bytes:
        while self._pieces:
            at, piece = self._pieces.pop()
            await self._pace.until(at)
            if 0 <= n < len(piece):
                self._pieces.append((0, piece[n:]))
                piece = piece[:n]
            if piece:
                return piece
        if self._answer.ended == "left":  # the recorded task ended the call here, so this one will too
            await self._pace.silence()
        if self._answer.ended is not None:
            raise _error(self._answer.ended, self._url)
        return b""


def _phrase(status: int) -> str | None:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return None


def _error(ended: Cut | None, url: URL) -> Exception:
    match ended:
        case "refused":
            return aiohttp.ClientConnectorError(_key(url), ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
        case "unknown_host":
            return aiohttp.ClientConnectorDNSError(_key(url), OSError("name not known"))
        case "silent" | "left":
            return TimeoutError()
        case "disconnected":
            return aiohttp.ServerDisconnectedError()
    return aiohttp.ClientPayloadError("the recorded answer was cut here")


def _key(url: URL) -> ConnectionKey:
    return ConnectionKey(url.host or "", url.port, url.scheme == "https", True, None, None, None)
