"""One side of a proxied connection, as HTTP/1.1, with h11."""

import asyncio
from dataclasses import dataclass, field

import h11

READ_BYTES = 64 * 1024
LINGER_SECONDS = 1
MAX_HEAD_BYTES = 64 * 1024  # of the first line and the headers


@dataclass
class Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    role: type = h11.SERVER  # our role
    first: bytes = b""  # the first bytes received, for error messages
    http: h11.Connection = field(init=False)

    def __post_init__(self) -> None:
        self.http = h11.Connection(self.role, MAX_HEAD_BYTES)

    async def next(self) -> h11.Event:
        """The next event. Raises h11.RemoteProtocolError, and ConnectionResetError at the end of HTTP."""
        while not isinstance(event := self.http.next_event(), h11.Event):
            if event is h11.PAUSED:
                raise ConnectionResetError("no more HTTP")
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self.reader.read(READ_BYTES)
            self.first = self.first or data[:200]
            self.http.receive_data(data)
        return event

    async def send(self, event: h11.Event) -> None:
        await self.write(self.http.send(event) or b"")

    async def write(self, data: bytes) -> None:
        self._check_alive()
        self.writer.write(data)
        await self.writer.drain()

    def write_eof(self) -> None:
        self._check_alive()
        self.writer.write_eof()

    def _check_alive(self) -> None:
        """Raises ConnectionResetError if the connection is closing. asyncio would drop the data, and uvloop raises
        RuntimeError."""
        if self.writer.is_closing():
            raise ConnectionResetError("gone")

    async def close(self) -> None:
        """Closes the connection. Data already written is sent if that takes at most LINGER_SECONDS."""
        self.writer.close()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            self.writer.transport.abort()

    async def answer(self, status: int, text: str) -> None:
        """Sends a complete plain-text answer and ends the connection."""
        body = text.encode() + b"\n"
        headers = [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        await self.send(h11.Response(status_code=status, headers=headers))
        if self.http.our_state is h11.SEND_BODY:
            await self.send(h11.Data(data=body))
            await self.send(h11.EndOfMessage())
