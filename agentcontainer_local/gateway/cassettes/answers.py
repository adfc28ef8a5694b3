"""Answers that come from a recording, and live ones that are noted as they pass: the gateway reads both alike."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from agentcontainer_local.gateway.cassettes.document import Answer, Cut
from agentcontainer_local.gateway.upstream import Content, Response
from agentcontainer_local.process.clock import Clock

# Of an answer's headers, those that change what the gateway or Pi does.
HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")
PAUSES = ("retry-after", "retry-after-ms")


@dataclass(frozen=True)
class Passed:
    """A Response."""

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


@dataclass
class Noted:
    """What has come so far: pieces with the second at which each came."""

    began: float = field(default_factory=time.monotonic)
    response: Response | None = None
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: Cut | None = None
    whole: bool = False

    def passed(self, response: Response) -> Response:
        self.response = response
        return _Noting(response, self)

    def failed(self, error: BaseException) -> None:
        """The call ended with this; nothing more comes after an answer that was whole."""
        if not self.whole and self.ended is None:
            self.ended = _ended(error, self.response is not None)


class _Noting:
    def __init__(self, response: Response, noted: Noted):
        self._response, self._noted = response, noted
        self.status, self.reason, self.headers = response.status, response.reason, response.headers
        self.raw_headers, self.content_type = response.raw_headers, response.content_type
        self.content: Content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_any():
            self._noted.pieces.append((time.monotonic(), piece))
            yield piece
        self._noted.whole = True

    async def read(self, n: int = -1) -> bytes:
        piece = await self._response.content.read(n)
        if piece:
            self._noted.pieces.append((time.monotonic(), piece))
        else:
            self._noted.whole = True
        return piece


def _ended(error: BaseException, answered: bool) -> Cut | None:
    match error:
        case asyncio.CancelledError() | GeneratorExit():
            return "left"
        case aiohttp.ClientConnectorDNSError():
            return "unknown_host"
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return "refused"
        case TimeoutError():
            return "silent"
        case aiohttp.ClientError() | OSError() | ValueError():
            return "cut" if answered else "disconnected"
    return None


@dataclass(frozen=True)
class Pace:
    """By the server's clock. `began`: when the request was sent; None: nothing is waited for."""

    clock: Clock
    began: float | None
    idle_seconds: float

    async def until(self, second: float) -> None:
        """That many seconds after the request."""
        left = 0.0 if self.began is None else self.began + second - self.clock.steady()
        await (self.clock.sleep(left) if left > 0 else asyncio.sleep(0))

    async def silence(self) -> None:
        """The provider says nothing for as long as it may."""
        await self.clock.sleep(self.idle_seconds)


async def told(answer: Answer, url: URL, pace: Pace) -> Response:
    """A recorded answer. Raises what the connection to the provider raised, if none came."""
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
        if self._answer.ended == "left":  # the task is about to end the call again
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
