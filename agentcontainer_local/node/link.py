"""Connections to the host, over TLS. Nodes connect to the host, never the other way."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agentcontainer_local.sandbox.placed import wire
from agentcontainer_local.sandbox.placed.wire import Closed, Lines, Message

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
# connections kept ready for the guest's next requests, because a TLS handshake takes longer than most answers
READY = 2

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(RuntimeError):
    """The host refused a connection. `code` is one of wire's."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Link:
    def __init__(self, address: str, job: str, bundle: Path):
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._job = job
        self._context = wire.of_node(bundle)
        self._ready: asyncio.Queue[Stream] = asyncio.Queue()
        self._filling: set[asyncio.Task[None]] = set()

    async def dial(self) -> Stream:
        """Connects to the host. Raises OSError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(
                    self._host.strip("[]"),
                    self._port,
                    ssl=self._context,
                    server_hostname=wire.HOST_NAME,
                    limit=wire.MAX_LINE_BYTES,
                )
        except (TimeoutError, ssl.SSLError) as error:
            raise ConnectionError(f"the host can't be reached: {error or 'no answer'}") from error

    async def asked(self, kind: str, **more: Any) -> tuple[Lines, Message]:
        """Opens a connection and returns the host's answer to its greeting. Raises OSError and Refused."""
        reader, writer = await self.dial()
        lines = Lines(reader, writer)
        try:
            await lines.write(self._greeting(kind, more))
            answer = await lines.read(wire.SILENT_SECONDS)
        except (Closed, TimeoutError, ValueError) as error:
            lines.close()
            raise ConnectionError(f"the host did not answer: {error}") from error
        if "error" in answer:
            lines.close()
            raise Refused(answer["error"], answer["message"])
        return lines, answer

    async def fetched(self, kind: str, **more: Any) -> AsyncIterator[bytes]:
        lines, _ = await self.asked(kind, **more)
        try:
            async for data in wire.pieces(lines.reader):
                yield data
        finally:
            lines.close()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> None:
        """Connects the guest to the host for one connection. If the host is not reachable, the guest tries again."""
        try:
            home = await self._next()
            home[1].write(wire.line(self._greeting(kind, {})))
            await wire.piped(reader, writer, home)
        except OSError:
            pass
        finally:
            writer.close()

    def keep_ready(self) -> None:
        """Opens connections in advance, while the host is reachable."""
        while self._ready.qsize() + len(self._filling) < READY:
            task = asyncio.create_task(self._fill())
            self._filling.add(task)
            task.add_done_callback(self._filling.discard)

    def forget_ready(self) -> None:
        """Closes the connections opened in advance, because the host was away."""
        while not self._ready.empty():
            self._ready.get_nowait()[1].close()

    async def _fill(self) -> None:
        with contextlib.suppress(OSError):
            self._ready.put_nowait(await self.dial())

    async def _next(self) -> Stream:
        while not self._ready.empty():
            stream = self._ready.get_nowait()
            if not stream[0].at_eof() and not stream[1].is_closing():
                self.keep_ready()
                return stream
            stream[1].close()
        stream = await self.dial()
        self.keep_ready()
        return stream

    def _greeting(self, kind: str, more: dict[str, Any]) -> Message:
        return {"version": wire.VERSION, "kind": kind, "job": self._job, **more}
