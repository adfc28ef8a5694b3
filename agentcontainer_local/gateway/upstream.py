"""The seam to the providers: every call that leaves the gateway goes through one function, the upstream.

`live` asks the provider. Others wrap it, or take its place: a recording, a replay, an injected fault. Whatever answers,
the gateway does the rest: limits, usage, costs, failures and their words.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from multidict import CIMultiDict
from yarl import URL

from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.routes import Route

if TYPE_CHECKING:
    import aiohttp

ONE_WRITE_BYTES = 1024 * 1024  # more than this is sent in pieces, so that other streams are not held up


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, as the provider gets it. `headers` and `url` may hold credentials.

    `document`: the body as the guest sent it; `body` may ask for a shorter answer.
    `query`: the guest's own part of the URL.
    """

    grant: Grant
    route: Route
    query: str
    document: dict[str, Any] = field(repr=False)
    body: bytes = field(repr=False)
    headers: CIMultiDict[str] = field(repr=False)
    url: URL = field(repr=False)
    proxy: str | None = field(repr=False)


class Content(Protocol):
    """Raises aiohttp.ClientPayloadError where the provider cut its answer, TimeoutError where it fell silent."""

    def iter_any(self) -> AsyncIterator[bytes]:
        """The pieces as they come, none of them empty."""

    async def read(self, n: int = -1) -> bytes:
        """At most so many bytes; b"" at the end."""


class Response(Protocol):
    """What the gateway reads of an answer; aiohttp's has all of it. `raw_headers` as they came."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def content_type(self) -> str: ...
    @property
    def content(self) -> Content: ...


# Entered, it has sent the request and has the head of the answer. Raises what aiohttp raises: aiohttp.ClientError,
# OSError or TimeoutError.
Upstream = Callable[[Request], AbstractAsyncContextManager[Response]]
Wrapped = Callable[[Upstream], Upstream]


def as_it_is(upstream: Upstream) -> Upstream:
    return upstream


def live(opened: Callable[[], Awaitable["aiohttp.ClientSession"]]) -> Upstream:
    @asynccontextmanager
    async def asked(request: Request) -> AsyncIterator[Response]:
        raw, session = request.body, await opened()
        async with session.post(
            request.url,
            data=raw if len(raw) <= ONE_WRITE_BYTES else BytesIO(raw),
            headers=request.headers,
            proxy=request.proxy,
            allow_redirects=False,
        ) as response:
            yield response

    return asked
