"""The interface to the providers: every call that leaves the gateway goes through one function, the upstream.

`live` calls the provider. Others wrap or replace it: a recording, a replay, an injected fault. The gateway does the
rest in all cases: limits, usage, costs and failures.
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

ONE_WRITE_BYTES = 1024 * 1024  # larger bodies are sent in pieces, so that other streams are not delayed


@dataclass(frozen=True, slots=True)
class Request:
    """A POST request to a provider. `headers` and `url` may contain credentials.

    `document`: the body as the guest sent it; `body` may ask for a shorter answer. `query`: the guest's part of the
    URL.
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
    """The body of an answer. Raises ClientPayloadError if the provider cut it, TimeoutError if it fell silent."""

    def iter_any(self) -> AsyncIterator[bytes]:
        """The pieces as they arrive, none of them empty."""

    async def read(self, n: int = -1) -> bytes:
        """At most `n` bytes; b"" at the end."""


class Response(Protocol):
    """The parts of an answer that the gateway reads. aiohttp's responses have them. `raw_headers`: as received."""

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


# Entering the context sends the request and waits for the head of the answer. Raises aiohttp.ClientError, OSError or
# TimeoutError, like aiohttp.
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
