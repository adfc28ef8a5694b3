"""A connection of a client or a guest: uvicorn's, with limits on buffers and time."""

import asyncio
import resource
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from agentcontainer_local.process.http_parser import Parser

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

MAX_HEAD_BYTES = 64 * 1024  # of a request's first line and headers, or of a trailer
HEAD_SECONDS = 30  # time limit for receiving a request's head
BODY_SECONDS, BODY_BYTES = 50, 4096  # a body must bring this many bytes in each such interval
MAX_CONNECTIONS = 10_000
MAX_PIPELINED_REQUESTS = 8  # requests sent before the previous one was answered


def most_connections() -> int:
    """At most three quarters of the open files limit. The rest is for other work."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if most == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, most * 3 // 4)


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP connection, with two corrections. An answer in progress is never interrupted.

    uvicorn accepts any number of pipelined requests, and 256 KB of them need 27 MB. When the client disconnects, it
    informs only the last of them, so the one in progress would never end.
    """

    unparsed_bytes = 0  # received since the parser last called back
    in_head = True  # whether a request's head is expected or incomplete
    late: asyncio.TimerHandle | None = None
    in_body, body_bytes = False, 0  # received since the last check
    slow: asyncio.TimerHandle | None = None
    deaf = False
    at_work: RequestResponseCycle | None = None

    # uvicorn's own parser is from httptools; Parser has the methods that uvicorn uses
    parser: Parser  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.parser = Parser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self.most():
            transport.abort()
        else:
            self.late = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def most(self) -> int:
        return most_connections()

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self.unparsed_bytes += len(data)
        super().data_received(data)
        if self.in_head and self.late is None:
            self.late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        if self.in_body and self.slow is None:
            self.slow = self.loop.call_later(BODY_SECONDS, self._look_at_body)
        if self.unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.refuse_head()

    def _head_is_there(self) -> None:
        self.in_head, self.unparsed_bytes = False, 0
        if self.late is not None:
            self.late.cancel()
            self.late = None

    def refuse_head(self) -> None:
        self.transport.abort()

    def _look_at_body(self) -> None:
        """Checks the body's speed. The client is not slow if this server has paused reading, has not sent 100 Continue,
        or is answering another request."""
        ours = self.flow.read_paused or self.cycle.waiting_for_100_continue or self.cycle is not self.at_work
        enough, self.body_bytes = self.body_bytes >= BODY_BYTES, 0
        if ours or enough:
            self.slow = self.loop.call_later(BODY_SECONDS, self._look_at_body)
        else:
            self.refuse_body()

    def _body_is_there(self) -> None:
        self.in_body, self.body_bytes = False, 0
        if self.slow is not None:
            self.slow.cancel()
            self.slow = None

    def refuse_body(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._head_is_there()
        self._body_is_there()
        if self.at_work is not None and not self.at_work.response_complete:
            self.at_work.disconnected = True
            self.at_work.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self.at_work = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            raise ValueError("too many requests at once")  # the parser turns this into its own error
        self.in_head = True
        super().on_message_begin()

    def send_400_response(self, msg: str) -> None:
        """Ends the connection after an invalid request. Earlier requests are answered first."""
        self.deaf = True
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            super().send_400_response(msg)
        else:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        if self.parser.offered():
            return
        self._head_is_there()
        self.in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.unparsed_bytes = 0
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.offered():
            return
        self.unparsed_bytes = 0
        self._body_is_there()
        super().on_message_complete()
