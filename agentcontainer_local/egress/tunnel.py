"""Passes data through an allowed connection: a tunnel's bytes, or one plain request and its answer."""

import asyncio
import contextlib
from collections.abc import Iterable

import h11

from agentcontainer_local.egress.connection import READ_BYTES, Peer

IDLE_SECONDS = 300  # without a byte in either direction

HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect", b"host"))


async def tunnel(client: Peer, far: Peer) -> None:
    """Raises TimeoutError when nothing passes any more; a cut on one side is one on the other."""
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
    """Passes on this request alone, to the host that was allowed, under its name: a second one is decided anew."""
    headers = [(b"host", authority.encode()), *_end_to_end(request.headers), (b"connection", b"close")]
    asked = h11.Request(method=request.method, target=path, headers=headers)
    async with asyncio.timeout(IDLE_SECONDS) as idle, asyncio.TaskGroup() as both:
        asking = both.create_task(_asked(client, far, asked, idle))
        await _answered(client, far, idle)
        asking.cancel()  # the far end may have answered before it had heard all


async def _asked(client: Peer, far: Peer, request: h11.Request, idle: asyncio.Timeout) -> None:
    """One that does not want to hear all may close its end; what it answers is what counts."""
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
    """A body, to its end."""
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
