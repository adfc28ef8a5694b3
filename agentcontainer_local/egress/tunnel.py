"""Passes data through an allowed connection: a tunnel's bytes, or one plain request and its answer."""

import asyncio
import contextlib
from collections.abc import Iterable

import h11

from agentcontainer_local.egress.connection import READ_BYTES, Peer

IDLE_SECONDS = 300  # without a byte in either direction

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect", b"host"))


async def tunnel(client: Peer, far: Peer) -> None:
    """Copies both directions. Raises TimeoutError after IDLE_SECONDS without data. If one side is cut, so is the
    other."""
    await client.send(h11.Response(status_code=200, reason=b"Connection established", headers=[]))
    early, _ = client.http.trailing_data
    await far.write(early)
    async with asyncio.timeout(IDLE_SECONDS) as idle, asyncio.TaskGroup() as both:
        both.create_task(_copied(client, far, idle))
        both.create_task(_copied(far, client, idle))


async def _copied(source: Peer, sink: Peer, idle: asyncio.Timeout) -> None:
    while data := await source.reader.read(READ_BYTES):
        _alive(idle)
        await sink.write(data)
    sink.write_eof()


def _alive(idle: asyncio.Timeout) -> None:
    idle.reschedule(asyncio.get_running_loop().time() + IDLE_SECONDS)


async def one_request(client: Peer, far: Peer, request: h11.Request, authority: str, path: str) -> None:
    """Forwards one request to the allowed host, with its name as Host. Further requests are checked again."""
    headers = [(b"host", authority.encode()), *_end_to_end(request.headers), (b"connection", b"close")]
    asked = h11.Request(method=request.method, target=path, headers=headers)
    async with asyncio.timeout(IDLE_SECONDS) as idle, asyncio.TaskGroup() as both:
        asking = both.create_task(_asked(client, far, asked, idle))
        await _answered(client, far, idle)
        asking.cancel()  # the server may answer before it has read the whole request


async def _asked(client: Peer, far: Peer, request: h11.Request, idle: asyncio.Timeout) -> None:
    """Sends the request. The server may close its side early, because only its answer matters."""
    with contextlib.suppress(OSError):
        await far.send(request)
        await _rest(client, far, idle)


async def _answered(client: Peer, far: Peer, idle: asyncio.Timeout) -> None:
    while isinstance(answer := await far.next(), h11.InformationalResponse):
        _alive(idle)
    if not isinstance(answer, h11.Response):
        raise ConnectionResetError("no answer")
    headers = [*_end_to_end(answer.headers), (b"connection", b"close")]
    await client.send(h11.Response(status_code=answer.status_code, reason=answer.reason, headers=headers))
    await _rest(far, client, idle)


async def _rest(source: Peer, sink: Peer, idle: asyncio.Timeout) -> None:
    """Copies a body to its end."""
    while not isinstance(event := await source.next(), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            raise ConnectionResetError("cut off")
        _alive(idle)
        await sink.send(h11.Data(data=event.data))
    await sink.send(h11.EndOfMessage())


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = {name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")}
    framing = (b"content-length", b"transfer-encoding")
    dropped = HOP_BY_HOP | (named - set(framing))
    return [(key, value) for key, value in headers if key not in dropped and not key.startswith(b"proxy-")]
