"""The protocol between host and node. Each connection begins with one line of JSON, its greeting.

| kind | after the greeting and its answer |
|---|---|
| control | `Message`s in both directions, one JSON object per line, until the run's job is over |
| door | HTTP of the guest, from the container's socket; the host answers it as on a local socket |
| egress | the guest's connection to allowed hosts, as on a local socket of the host |
| image | from the host: an archive of `podman save` |
| restore | from the host: a part of the task's workspace, as a tar archive |
| checkpoint | to the host: the same; answered with a line when it is on disk |

The greeting: {"version": 1, "kind", "job": "<task>.<run>", …}. The answer: {"ok": true, …}, or {"error": code,
"message"}. Door and egress connections get no answer, which saves a round trip; refused ones are closed.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

VERSION = 1
# name in the host's certificate; nodes identify the host by its authority, not by its address
HOST_NAME = "agentcontainer-host"
MAX_LINE_BYTES = 64 * 1024**2  # launch documents with skills are the largest messages
GREETING_BYTES = 64 * 1024
SILENT_SECONDS = 30  # a control connection without a line for this long is dead; each side sends one every PING_SECONDS
PING_SECONDS = 5

GONE: Final = "gone"  # the run has ended, so the node ends what is left of it
NOT_YOURS: Final = "not_yours"  # the scheduler has not placed it on this node
WAIT: Final = "wait"  # the host does not know yet; ask again
VERSIONS: Final = "versions"  # host and node have different versions

Message = dict[str, Any]


class Closed(ConnectionError):
    """The other side has closed the connection."""


class Lines:
    """Messages on a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    async def read(self, seconds: float | None = None) -> Message:
        """Reads a message. Raises Closed, TimeoutError, and ValueError for an invalid message."""
        try:
            async with asyncio.timeout(seconds):
                line = await self.reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
            raise Closed("the connection was closed") from error
        except asyncio.LimitOverrunError as error:
            raise ValueError("a message is too long") from error
        return parsed(line)

    async def write(self, message: Message) -> None:
        """Sends a message. Raises Closed."""
        try:
            self.writer.write(line(message))
            await self.writer.drain()
        except (OSError, ssl.SSLError) as error:
            raise Closed("the connection was closed") from error

    async def ping(self) -> None:
        """Says something every PING_SECONDS, until the connection is closed."""
        with contextlib.suppress(Closed):
            while True:
                await asyncio.sleep(PING_SECONDS)
                await self.write({"type": "ping"})

    def close(self) -> None:
        self.writer.close()


def parsed(line: bytes) -> Message:
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("a message is an object")
    return message


def line(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def of_host(certificate: Path, authority: Path) -> ssl.SSLContext:
    """The host's TLS context. It requires a certificate of the store's own authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _strict(context, certificate, authority)


def of_node(bundle: Path) -> ssl.SSLContext:
    """A node's TLS context. `bundle`: the output of `nodes add`: the node's key and certificate, and the authority's
    certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _strict(context, bundle, bundle)


def _strict(context: ssl.SSLContext, certificate: Path, authority: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    context.load_verify_locations(authority)
    return context


async def send_pieces(writer: asyncio.StreamWriter, read: Callable[[], Awaitable[bytes]]) -> None:
    """Sends what `read` returns until that is empty. Each piece is preceded by its size; size 0 marks the end."""
    while data := await read():
        writer.write(len(data).to_bytes(4, "big"))
        writer.write(data)
        await writer.drain()
    writer.write(bytes(4))
    await writer.drain()


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Receives the pieces of `send_pieces`. Raises Closed if the connection was cut."""
    try:
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            if size > MAX_LINE_BYTES:
                raise ValueError("a piece is too large")
            yield await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError, ssl.SSLError) as error:
        raise Closed("the connection was closed") from error


async def piped(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copies bytes in both directions until one side ends. Then closes both."""

    async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            to.write(data)
            await to.drain()

    ways = [asyncio.create_task(carry(reader, other[1])), asyncio.create_task(carry(other[0], writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, other[1]):
            end.close()
