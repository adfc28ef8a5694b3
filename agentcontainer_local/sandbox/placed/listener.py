"""The host's port for nodes. The first line of a connection says what it is for, and for which run."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from agentcontainer_local.sandbox.placed.certificates import Authority
from agentcontainer_local.sandbox.placed.wire import GREETING_BYTES, Lines, Message, line, of_host, parsed

log = logging.getLogger(__name__)

GREETING_SECONDS = 3600  # long, because nodes keep a connection ready for the next request
HANDSHAKE_SECONDS = 10
MAX_CONNECTIONS = 4096  # of all nodes together

Arrived = Callable[["Arrival", str, Message], Awaitable[None]]  # called with the node's name and its greeting


class Arrival(asyncio.Protocol):
    """A connection until its greeting has arrived. Then it becomes a stream, or is answered as HTTP."""

    def __init__(self, allows: Callable[[bytes], str | None], arrived: Arrived, open: set["Arrival"]):
        self._allows = allows
        self._arrived = arrived
        self._open = open
        self._received = b""
        self._late: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport
        self.certificate = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = self.transport = cast(asyncio.Transport, transport)  # by their class, uvloop's are not
        if len(self._open) >= MAX_CONNECTIONS:
            transport.abort()
            return
        self._open.add(self)
        self.certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self._late = asyncio.get_running_loop().call_later(GREETING_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._received += data
        first, newline, self._received = self._received.partition(b"\n")
        if not newline:
            self._received = first
            if len(first) > GREETING_BYTES:
                self.transport.abort()
            return
        self.transport.pause_reading()
        if self._late is not None:
            self._late.cancel()
        self._work = asyncio.create_task(self._greeted(first))

    async def _greeted(self, first: bytes) -> None:
        try:
            greeting, node = parsed(first), self._allows(self.certificate)
            if node is None:
                self.transport.abort()
            else:
                await self._arrived(self, node, greeting)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("a node sent an invalid message: %r", error)
            self.transport.abort()
        except Exception:
            log.exception("a node's connection failed")
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._open.discard(self)
        if self._late is not None:
            self._late.cancel()

    def becomes(self, protocol: asyncio.Protocol) -> None:
        """Hands the connection over to another protocol, with the data received so far."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self._forward_loss(protocol)
        if self._received:
            protocol.data_received(self._received)
        self.transport.resume_reading()

    def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=64 * 1024**2)
        protocol = asyncio.StreamReaderProtocol(reader)
        self.becomes(protocol)
        return reader, asyncio.StreamWriter(self.transport, protocol, reader, loop)

    def lines(self) -> Lines:
        return Lines(*self.stream())

    def refuse(self, code: str, message: str) -> None:
        self.transport.write(line({"error": code, "message": message}))
        self.transport.close()

    def _forward_loss(self, protocol: asyncio.Protocol) -> None:
        """Makes the listener notice the end of a connection that was handed over."""
        lost = protocol.connection_lost

        def both(error: Exception | None) -> None:
            self._open.discard(self)
            lost(error)

        protocol.connection_lost = both  # type: ignore[method-assign, assignment]  # only of this connection


class Listener:
    def __init__(self, authority: Authority, arrived: Arrived):
        self._authority = authority
        self._arrived = arrived
        self._open: set[Arrival] = set()

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Listens, and yields the port. Raises OSError if that fails."""
        self._authority.make()
        context = of_host(self._authority.host, self._authority.certificate)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Arrival(self._authority.allows, self._arrived, self._open),
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for connection in list(self._open):
                connection.transport.abort()

    def close_removed(self) -> None:
        """Closes connections of nodes that are no longer allowed."""
        for connection in list(self._open):
            if self._authority.allows(connection.certificate) is None:
                connection.transport.abort()
