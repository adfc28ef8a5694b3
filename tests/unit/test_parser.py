"""A request that offers another protocol is handled as if it did not: at the HTTP face and at the door of a run."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from agentcontainer_local.guest import Door
from agentcontainer_local.http import middleware
from tests.unit.test_connection import serving
from tests.unit.test_door import connected, served

OFFERS = {
    "h2c": b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAAAAMAAAAA\r\n",
    "websocket": b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "tls": b"Upgrade: TLS/1.2\r\nConnection: keep-alive, Upgrade\r\n",
    "several": b"upgrade: h2c\r\nupgrade: websocket, TLS/1.0\r\nconnection: keep-alive\r\nconnection: upgrade\r\n",
}
BODY = b"GET /inner HTTP/1.1\r\nhost: h\r\n\r\n"  # a body that is itself a request
FRAMED = {
    "length": b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunked": b"transfer-encoding: chunked\r\n\r\n3\r\n%b\r\n%x\r\n%b\r\n0\r\nupgrade: h2c\r\n\r\n"
    % (BODY[:3], len(BODY) - 3, BODY[3:]),
}


async def echo(request: Request) -> PlainTextResponse:
    body = await request.body()
    return PlainTextResponse(f"<{request.method} {request.url.path} {body!r} {request.headers.get('x-last')}>")


APP = Router([Route("/{path:path}", echo, methods=["GET", "POST", "PUT"])])


@pytest.fixture(params=["face", "door"])
async def path(request, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "host.sock"
    door = served(Door(None, "tsk", "run"), tmp_path, APP)
    async with serving(APP, path, middleware.Connection) if request.param == "face" else door:
        yield path


async def answers(path: Path, pieces: list[bytes], last: str) -> list[str]:
    """What was answered up to the request that asked for `last`."""
    async with connected(path) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        said = await asyncio.wait_for(reader.readuntil(f"{last}>".encode()), 10)
    return re.findall(r"<(.*?)>", said.decode())


def cut(text: bytes, how: str) -> list[bytes]:
    head, body = text.split(b"\r\n\r\n", 1)
    return {
        "one": [text],
        "head and body": [head + b"\r\n\r\n", body],
        "in the middle": [text[:-3], text[-3:]],
        "bytes": [text[at : at + 1] for at in range(len(text))],
    }[how]


@pytest.mark.parametrize("how", ["one", "head and body", "in the middle", "bytes"])
@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("offer", OFFERS)
async def test_the_body_arrives_and_the_connection_goes_on(path: Path, offer: str, framing: str, how: str):
    upload = b"PUT /a HTTP/1.1\r\nhost: h\r\n" + OFFERS[offer] + b"x-last: one\r\n" + FRAMED[framing]
    second = b"GET /b HTTP/1.1\r\nhost: h\r\n" + OFFERS[offer] + b"x-last: two\r\n\r\n"
    third = b"POST /c HTTP/1.1\r\nhost: h\r\nx-last: three\r\n" + FRAMED[framing]
    assert await answers(path, [*cut(upload, how), second, third], "three") == [
        f"PUT /a {BODY!r} one",
        "GET /b b'' two",
        f"POST /c {BODY!r} three",
    ]


@pytest.mark.parametrize("offer", OFFERS)
async def test_requests_that_do_not_wait_may_all_offer(path: Path, offer: str):
    every = [
        b"POST /%d HTTP/1.1\r\nhost: h\r\n" % number + OFFERS[offer] + b"x-last: %d\r\n" % number + FRAMED["chunked"]
        for number in range(4)
    ]
    assert await answers(path, [b"".join(every)], "3") == [f"POST /{n} {BODY!r} {n}" for n in range(4)]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_close_is_still_a_close(path: Path, version: bytes):
    offer = b"connection: close, upgrade\r\nupgrade: h2c\r\n"
    async with connected(path) as (reader, writer):
        writer.write(b"POST / HTTP/" + version + b"\r\nhost: h\r\n" + offer + FRAMED["length"])
        said = await asyncio.wait_for(reader.read(), 10)
    assert repr(BODY).encode() in said and said.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"content-length: x\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\nnot a length\r\n",
        b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
    ],
)
async def test_a_broken_body_is_still_refused(path: Path, framing: bytes):
    async with connected(path) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: h\r\n" + OFFERS["h2c"] + framing)
        said = await asyncio.wait_for(reader.read(), 10)
    assert b" 200 " not in said


async def test_a_tunnel_is_refused(path: Path):
    async with connected(path) as (reader, writer):
        writer.write(b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n")
        assert b" 400 " in await asyncio.wait_for(reader.read(), 10)


@pytest.mark.skipif(
    "HTTP2" not in subprocess.getoutput(f"{shutil.which('curl') or 'true'} --version"),
    reason="this machine's curl does not offer HTTP/2",
)
@pytest.mark.parametrize("size", [6, 3_000_000])
async def test_what_curl_sends_with_http2_arrives(path: Path, size: int):
    """It waits for `100 Continue` before a large body."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "-sS",
        "--http2",
        "--unix-socket",
        path,
        "-T",
        "-",
        "http://h/a",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(b"x" * size), 30)
    assert said.decode().count("x" * size) == 1
