"""Middleware for every request: checks the Host header, limits the rate, and adds security headers.

There are no CORS headers: a page of another origin can send a request but can't read the answer, and has no effect
without a key, which browsers do not add. Host names are checked because of DNS rebinding: an attacker's name could
point here, and a page under it would have our origin. An IP address as Host can't be redirected.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.errors import Misdirected, RequestTimeout, TooManyRequests
from agentcontainer_local.http.authentication import authorization
from agentcontainer_local.http.bodies import dumps
from agentcontainer_local.http.routing import refusal
from agentcontainer_local.process import connection_limits
from agentcontainer_local.settings import Settings

FAILED_A_SECOND, FAILED_AT_ONCE = 5, 50  # failed authentications per address that get a 401
MAX_REMEMBERED_CALLERS = 10_000  # callers whose rates are stored

# The default headers. The web pages set their own; answers of the API are never pages.
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


TOO_SLOW = dumps(RequestTimeout("The request body arrived too slowly. Send it again.").body())
SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(TOO_SLOW), TOO_SLOW)
)


class Rate:
    """A rate limit for each caller: `a_second`, and up to `at_once` after a pause."""

    def __init__(self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic):
        self.a_second, self.at_once, self.clock = a_second, at_once, clock
        self._left: OrderedDict[object, tuple[float, float]] = OrderedDict()  # least recently seen first

    def wait(self, caller: object) -> float:
        """Takes one permit and returns 0. If there is none, returns the seconds until there will be one."""
        now = self.clock()
        left, seen = self._left.pop(caller, (self.at_once, now))
        left = min(self.at_once, left + (now - seen) * self.a_second)
        self._left[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MAX_REMEMBERED_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self.a_second


def protected(app: ASGIApp, settings: Settings, clock: Callable[[], float] = time.monotonic) -> ASGIApp:
    names = known_names(settings)
    calls = Rate(settings.max_requests_per_second, 2 * settings.max_requests_per_second, clock)
    failed = Rate(FAILED_A_SECOND, FAILED_AT_ONCE, clock)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        send = _telling_browsers(send)
        if len(hosts) > 1 or not all(is_known(host.decode("latin-1"), names) for host in hosts):
            reason = "Unknown Host header. Use the server's address, or start it with --host-names NAME."
            await refusal(Misdirected(reason))(scope, receive, send)
        elif wait := calls.wait(_caller(scope)):
            await refusal(TooManyRequests(wait))(scope, receive, send)
        else:
            await app(scope, receive, _counting_failures(scope, receive, send, failed))

    return guarded


def known_names(settings: Settings) -> frozenset[str]:
    own = [settings.host, urlsplit(settings.public_url or "").hostname or "", *settings.host_names.split(",")]
    return frozenset({"localhost", *(name.strip().lower() for name in own)} - {""})


def is_known(host: str, names: frozenset[str]) -> bool:
    """Whether the Host header is allowed. `host`: with or without a port."""
    name = host.lower().rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and ":" in host else host.lower()
    name = name.removesuffix(".")
    if name in names or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _caller(scope: Scope) -> object:
    """Identifies the caller for rate limits: the hash of its Authorization header, or its address."""
    shown = authorization(scope)
    return (scope.get("client") or ("",))[0] if shown is None else hash(shown)


def _telling_browsers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = message.get("headers", [])
            names = {name for name, _ in own}
            message = {**message, "headers": [*own, *(header for header in HEADERS if header[0] not in names)]}
        await send(message)

    return sent


def _counting_failures(scope: Scope, receive: Receive, send: Send, failed: Rate) -> Send:
    """Limits how many 401 answers an address gets, against guessing keys. A correct key is always accepted."""
    refused = False

    async def sent(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] == 401:
            wait = failed.wait((scope.get("client") or ("",))[0])
            if wait:
                refused = True
                await refusal(TooManyRequests(wait))(scope, receive, send)
        if not refused:
            await send(message)

    return sent


class Connection(connection_limits.Connection):
    """A connection that gets an answer when its head or its body is refused."""

    def refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    def refuse_body(self) -> None:
        if not self.cycle.response_started:
            self.transport.write(SLOW)
        self.transport.close()
