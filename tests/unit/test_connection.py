"""A connection of a client that does not keep to one request at a time, at the HTTP face; the door has the same."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from agentcontainer_local.http import middleware
from agentcontainer_local.process import connection_limits
from tests.unit.test_door import connected

FIRST, NEXT = b"GET /first HTTP/1.1\r\nhost: h\r\n\r\n", b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n"


class Face:
    """`/first` streams until it hears that its client has gone, or that it may end; `/next` counts."""

    def __init__(self):
        self.may_end, self.gone, self.counted = asyncio.Event(), asyncio.Event(), 0
        self.app = Router([Route("/first", self.first), Route("/next", self.next)])

    async def first(self, request: Request) -> StreamingResponse:
        async def words() -> AsyncIterator[bytes]:
            try:
                yield b"begin "
                while not self.may_end.is_set():
                    await asyncio.sleep(0.01)
                    yield b"."
                yield b" end"
            except asyncio.CancelledError:
                self.gone.set()
                raise

        return StreamingResponse(words())

    async def next(self, request: Request) -> PlainTextResponse:
        self.counted += 1
        return PlainTextResponse(f"number {self.counted}")


@contextlib.asynccontextmanager
async def serving(app, path, kind: type) -> AsyncIterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, uds=str(path), lifespan="off", log_config=None, ws="none", http=kind))
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield
    server.should_exit = True
    await serving


@pytest.fixture
async def face(tmp_path):
    face = Face()
    async with serving(face.app, tmp_path / "s", connection_limits.Connection):
        yield face, tmp_path / "s"
        face.may_end.set()


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


@pytest.fixture
async def reading(tmp_path):
    """The HTTP face, which says why it ends a connection, before an app that reads its bodies."""
    app = Router([Route("/next", length, methods=["POST"])])
    async with serving(app, tmp_path / "s", middleware.Connection):
        yield tmp_path / "s"


async def test_a_few_requests_that_do_not_wait_are_answered_in_order(face):
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST + NEXT * connection_limits.MAX_PIPELINED_REQUESTS)
        await reader.readuntil(b"begin ")
        face.may_end.set()
        said = await asyncio.wait_for(reader.readuntil(b"number %d" % connection_limits.MAX_PIPELINED_REQUESTS), 10)
    assert said.index(b" end") < said.index(b"number 1") < said.index(b"number 2")


async def test_of_many_requests_at_once_only_a_few_are_kept(face):
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST + NEXT * 2000)
        await reader.readuntil(b"begin ")
        face.may_end.set()
        said = await asyncio.wait_for(reader.read(), 10)
    assert face.counted == connection_limits.MAX_PIPELINED_REQUESTS and b" end" in said and b" 400 " not in said


async def test_a_client_that_goes_is_missed_whatever_it_sent_behind(face, caplog):
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST + NEXT)
        await reader.readuntil(b"begin ")
    await asyncio.wait_for(face.gone.wait(), 10)
    assert face.counted == 0 and not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_junk_behind_a_request_is_not_answered_in_the_middle_of_its_answer(face):
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST + b"\0junk\r\n\r\n")
        await reader.readuntil(b"begin ")
        writer.write(b"more junk")
        await reader.readuntil(b".")
        face.may_end.set()
        said = await asyncio.wait_for(reader.read(), 10)
    assert said.endswith(b" end\r\n0\r\n\r\n") and b" 400 " not in said


@pytest.mark.parametrize("begun", [b"", b"GET /next HT", NEXT + b"GET /next HTTP/1.1\r\nhost: "])
async def test_who_does_not_say_what_is_wanted_is_not_waited_for(face, begun, monkeypatch):
    """Each open connection is a file that the server can't open for its work: a stranger could take all of them."""
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.2)
    async with connected(face[1]) as (reader, writer):
        writer.write(begun)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 4)


async def test_a_long_answer_is_no_late_request(face, monkeypatch):
    monkeypatch.setattr(connection_limits, "HEAD_SECONDS", 0.1)
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST[:-2])
        await asyncio.sleep(0.05)
        writer.write(FIRST[-2:])
        await reader.readuntil(b"begin ")
        await asyncio.sleep(0.3)
        face.may_end.set()
        assert b" end" in await asyncio.wait_for(reader.readuntil(b" end"), 10)


async def test_strangers_leave_files_for_the_work(face, monkeypatch):
    monkeypatch.setattr(connection_limits, "most_connections", lambda: 3)
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(connected(face[1])) for _ in range(5)]
        said = []
        for reader, writer in opened:
            with contextlib.suppress(ConnectionError):
                writer.write(NEXT)
                await writer.drain()
            try:
                said.append((await asyncio.wait_for(reader.read(15), 10))[:15])
            except ConnectionError:
                said.append(b"")
        assert said == [b"HTTP/1.1 200 OK"] * 3 + [b""] * 2


SLOW = b"POST /next HTTP/1.1\r\nhost: h\r\n"


@pytest.mark.parametrize("framing", [b"content-length: 1000000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"])
async def test_a_body_that_comes_byte_by_byte_is_not_waited_for(reading, framing, monkeypatch):
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.2)
    piece = b"1\r\nx\r\n" if b"chunked" in framing else b"x"
    said = await asyncio.to_thread(dribbled, reading, SLOW + framing, piece)
    assert said.startswith(b"HTTP/1.1 408 ") and b'"code":"request_timeout"' in said


def dribbled(path, head: bytes, piece: bytes) -> bytes:
    """What is answered to one that sends `head`, and then `piece` again and again."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(head)
        client.settimeout(0.05)
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                return client.recv(10_000)
            client.sendall(piece)
    return b""


async def test_a_slow_body_that_keeps_moving_is_taken_whole(reading, monkeypatch):
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.2)
    async with connected(reading) as (reader, writer):
        writer.write(SLOW + b"content-length: %d\r\n\r\n" % (30 * connection_limits.BODY_BYTES))
        for _ in range(30):
            writer.write(b"x" * connection_limits.BODY_BYTES)
            await asyncio.sleep(0.05)
        said = await asyncio.wait_for(reader.readuntil(b"bytes"), 10)
    assert b"%d bytes" % (30 * connection_limits.BODY_BYTES) in said


async def test_a_body_that_nobody_reads_yet_is_not_slow(face, monkeypatch):
    """The request before is still being answered, and what comes behind it waits in the kernel."""
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.1)
    face, path = face
    async with connected(path) as (reader, writer):
        writer.write(FIRST + b"GET /next HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\n")
        await reader.readuntil(b"begin ")
        await asyncio.sleep(0.3)
        writer.write(b"abc")
        face.may_end.set()
        assert b"number 1" in await asyncio.wait_for(reader.readuntil(b"number 1"), 10)


async def test_what_comes_slowly_after_an_early_answer_ends_the_connection(face, monkeypatch):
    monkeypatch.setattr(connection_limits, "BODY_SECONDS", 0.1)
    async with connected(face[1]) as (reader, writer):
        writer.write(b"GET /next HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nx")
        with contextlib.suppress(ConnectionError):
            said = await asyncio.wait_for(reader.read(), 10)
            assert said.count(b"HTTP/1.1") == 1


def test_most_files_may_be_connections_and_the_rest_is_for_the_work():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1000, hard), hard))
        assert connection_limits.most_connections() == min(1000, hard) * 3 // 4
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
