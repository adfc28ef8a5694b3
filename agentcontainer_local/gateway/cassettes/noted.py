"""Captures a provider's answer while it passes."""

import asyncio
import base64
import codecs
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from agentcontainer_local.gateway.cassettes.document import Answer, Cut, Piece
from agentcontainer_local.gateway.cassettes.secrets import Secrets
from agentcontainer_local.gateway.upstream import Content, Response

# Headers of answers that influence the gateway or Pi.
HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")


@dataclass
class Noted:
    """The answer so far: the pieces, each with the time at which it arrived."""

    began: float = field(default_factory=time.monotonic)
    response: Response | None = None
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: Cut | None = None
    whole: bool = False

    def passed(self, response: Response) -> Response:
        self.response = response
        return _Noting(response, self)

    def failed(self, error: BaseException) -> None:
        """Records how the call ended, unless the answer was complete."""
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


def written(noted: Noted, hidden: Secrets) -> Answer:
    response = noted.response
    if response is None:
        return Answer(ended=noted.ended or "disconnected")
    found = ((name, response.headers.get(name)) for name in HEADERS)
    return Answer(
        status=response.status,
        reason=hidden.hidden(response.reason) if response.reason and response.status >= 300 else None,
        headers={name: hidden.hidden(value) for name, value in found if value is not None},
        pieces=_pieces(noted, hidden),
        ended=noted.ended,
    )


def _pieces(noted: Noted, hidden: Secrets) -> list[Piece]:
    """The recorded pieces, divided between characters. A single piece, if a secret spans two pieces."""
    at, texts = [round(1000 * (second - noted.began)) for second, _ in noted.pieces], _texts(noted)
    if texts is None:
        return [_bytes(noted, hidden)]
    clean = [hidden.hidden(piece) for piece in texts]
    whole = hidden.hidden("".join(texts))
    if "".join(clean) != whole:
        at, clean = at[:1], [whole]
    return [Piece(at_ms=ms, text=piece) for ms, piece in zip(at, clean, strict=True) if piece]


def _texts(noted: Noted) -> list[str] | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        texts = [decoder.decode(piece) for _, piece in noted.pieces]
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    return texts


def _bytes(noted: Noted, hidden: Secrets) -> Piece:
    content = hidden.hidden(b"".join(piece for _, piece in noted.pieces).decode("latin-1")).encode("latin-1")
    return Piece(at_ms=round(1000 * (noted.pieces[0][0] - noted.began)), base64=base64.b64encode(content).decode())
