"""The door against a guest that misbehaves: it bounds what one run can make the server keep."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from agentcontainer_local.guest import Door, door, opened
from agentcontainer_local.sandbox import guest_http
from agentcontainer_local.sandbox.backend import Guest
from agentcontainer_local.sandbox.podman import sockets


async def size(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("too much", 413)


@pytest.fixture
async def path() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        app = Router([Route("/size", size, methods=["POST", "PUT"])])
        async with served(Door(None, "tsk", "run"), Path(folder), app):
            yield Path(folder) / "host.sock"


@contextlib.asynccontextmanager
async def served(door: Door, folder: Path, app: ASGIApp) -> AsyncIterator[None]:
    """As a run's guest reaches it."""
    async with opened(door, app) as bound, sockets.served(Guest(bound, None), folder):
        yield


@contextlib.asynccontextmanager
async def connected(path: Path):
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def say(path: Path, *pieces: bytes) -> bytes:
    """What comes back, or nothing where the door hung up."""
    async with connected(path) as (reader, writer):
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""


HEAD = b"POST /size HTTP/1.1\r\nhost: host\r\n"


async def test_a_head_without_end_is_cut_off(path: Path):
    assert await say(path, HEAD, *[b"x: " + b"y" * 8000 + b"\r\n"] * 100) == b""
    assert await say(path, HEAD + b"x: ", *[b"y" * 8000] * 100) == b""
    assert await say(path, b"POST /" + b"y" * 200_000) == b""


async def test_a_trailer_without_end_is_cut_off(path: Path):
    async with connected(path) as (_, writer):
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x: " + b"y" * 8000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)


async def test_a_large_body_is_no_head(path: Path):
    body = [b"z" * 1_000_000] * 5
    assert b"200 OK" in await say(path, HEAD + b"content-length: 5000000\r\n\r\n", *body)


async def test_a_run_has_so_many_connections_and_no_more(path: Path, monkeypatch):
    monkeypatch.setattr(guest_http, "MAX_CONNECTIONS", 5)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(connected(path))
        await asyncio.sleep(0.05)
        assert await say(path, HEAD + b"content-length: 0\r\n\r\n") == b""
    await asyncio.sleep(0.05)
    assert b"200 OK" in await say(path, HEAD + b"content-length: 0\r\n\r\n")


async def test_what_a_run_has_in_memory_is_bounded_over_all_its_requests(path: Path, monkeypatch):
    monkeypatch.setattr(door, "MAX_HELD_BYTES", 1_000_000)
    half = b"z" * 600_000
    async with connected(path) as (_, writer):
        writer.write(HEAD + b"content-length: 600001\r\n\r\n" + half)
        await writer.drain()
        await asyncio.sleep(0.1)
        assert b" 413 " in await say(path, HEAD + b"content-length: 600000\r\n\r\n" + half)
    await asyncio.sleep(0.1)
    assert b"200 OK" in await say(path, HEAD + b"content-length: 600000\r\n\r\n" + half)


@pytest.mark.parametrize(
    "junk",
    [
        b"\0" * 1000,
        b"\r\n" * 1000,
        b"GET",
        b"\x16\x03\x01\x02\0\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
    ],
)
async def test_junk_is_answered_or_cut_and_the_next_one_is_served(path: Path, junk: bytes, caplog):
    with contextlib.suppress(TimeoutError):
        async with connected(path) as (reader, writer):
            writer.write(junk)
            answer = await asyncio.wait_for(reader.read(), 0.3)
            assert answer == b"" or b" 4" in answer
    assert b"200 OK" in await say(path, HEAD + b"content-length: 0\r\n\r\n")
    assert caplog.records == [], "junk does not fill the server's log"
