"""httptools' request parser, changed to ignore `Upgrade` headers (RFC 9110, section 7.8).

httptools treats the bytes after an `Upgrade` header as the other protocol's: the body is lost, or parsed as the next
request. https://github.com/Kludex/uvicorn/issues/2722
"""

from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser


class Listener(Protocol):
    """The callbacks of the parser. `url` and `headers` belong to the request whose head was just parsed."""

    url: bytes
    headers: list[tuple[bytes, bytes]]


class Parser:
    def __init__(self, listener: Listener):
        self._listener = listener
        self._parser = _fresh(listener)

    def feed_data(self, data: bytes) -> None:
        """Parses data. When a head has an `Upgrade` header, a new parser parses the head again without it."""
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
        """Whether the head that was just parsed will be parsed again, so that the callback must ignore it."""
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
    # A client may send another request after `Connection: close`. It is answered.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
