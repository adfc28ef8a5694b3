"""A client's connection, at the door or at the HTTP face: uvicorn's, with bounds for what it keeps of a client."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024         # of a request's first line and headers, or of a trailer
MOST_WAITING = 8                    # requests that did not wait for the answer to the one before


class Connection(HttpToolsProtocol):
    """uvicorn takes as many requests as come at once (of 256 KB it makes 27 MB), and when the client goes it tells the
    last of them alone: the one that is at work would never end. An answer that is under way is not broken into."""

    unparsed_bytes = 0              # that came since the parser last had something for us
    deaf = False
    at_work = None

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self.unparsed_bytes += len(data)
        super().data_received(data)
        if self.unparsed_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.refuse_head()

    def refuse_head(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.at_work is not None and not self.at_work.response_complete:
            self.at_work.disconnected = True
            self.at_work.message_event.set()

    def _start_asgi_task(self, cycle, app) -> None:
        self.at_work = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_WAITING:
            raise ValueError("too many requests at once")       # of which the parser makes an error of its own
        super().on_message_begin()

    def send_400_response(self, msg: str) -> None:
        """What is no request ends the connection, but the answers to those before it come first."""
        self.deaf = True
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            super().send_400_response(msg)
        else:
            self.cycle.keep_alive = False

    def on_headers_complete(self) -> None:
        self.unparsed_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.unparsed_bytes = 0
        super().on_message_complete()
