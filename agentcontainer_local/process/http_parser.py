"""httptools' request parser, changed to ignore `Upgrade` headers (RFC 9110, section 7.8).

Its own takes what follows an `Upgrade` header for that protocol's bytes: the body is lost, or read as the next request.
https://github.com/Kludex/uvicorn/issues/2722
"""

from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser


class Listener(Protocol):
    """What the parser calls; `url` and `headers` are those of the request whose head has just been parsed."""

    url: bytes
    headers: list[tuple[bytes, bytes]]


class Parser:
    def __init__(self, listener: Listener):
        self._listener = listener
        self._parser = _fresh(listener)

    def feed_data(self, data: bytes) -> None:
        """A request with an offer is begun again, without it, by a parser that has not seen it."""
        while data:
            try:
                return self._parser.feed_data(data)
            except HttpParserUpgrade as offer:
                if self.get_method() == b"CONNECT":
                    raise HttpParserError("this server is not a proxy") from None
                head, data = self._head(), data[offer.args[0] :]
                self._parser = _fresh(self._listener)
                self._parser.feed_data(head)
        return None

    def _head(self) -> bytes:
        line = b"%b %b HTTP/%b" % (self.get_method(), self._listener.url, self.get_http_version().encode())
        headers = [b"%b: %b" % header for header in self._listener.headers if header[0] != b"upgrade"]
        return b"\r\n".join([line, *headers, b"", b""])

    def offered(self) -> bool:
        """Whether the head just parsed will be parsed again, so that it does not count yet."""
        return self._parser.should_upgrade()

    def should_upgrade(self) -> bool:
        return False

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def get_http_version(self) -> str:
        return self._parser.get_http_version()


def _fresh(listener: Listener) -> HttpRequestParser:
    parser = HttpRequestParser(listener)
    # A client may send its next request although the one before said `Connection: close`: that one is answered.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
