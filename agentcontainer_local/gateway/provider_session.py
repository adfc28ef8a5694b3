"""The HTTP session for calls to providers. It is opened once and shared by all calls."""

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.token_estimate import Known
from agentcontainer_local.gateway.upstream import Upstream, Wrapped, as_it_is, live
from agentcontainer_local.prices import Prices
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.process.loopback import is_here

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 30
KEEPALIVE_SECONDS = 30
READ_BYTES = 256 * 1024  # buffer for an answer that arrives faster than it is read
LARGE_BYTES = 64 * 1024  # above this size, work on a request would block the event loop for too long
LARGE_AT_ONCE = 2  # large requests processed at once, over all runs; one for each run

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Client:
    upstream: Upstream
    prices: Prices
    idle_seconds: float
    clock: Clock
    proxies: dict[tuple[str, str], str | None] = field(default_factory=dict)  # cached proxies, by scheme and host
    # time of the pause's end, by address and key
    resting: dict[tuple[str, str | None], float] = field(default_factory=dict, repr=False)

    workers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(LARGE_AT_ONCE, "model-calls"), repr=False
    )

    async def aside(self, known: Known, size: int, work: Callable[..., Answer], *given: Any) -> Answer:
        """Does work whose duration depends on the size of a request. For a large one it uses a thread, one at a time
        for each run.

        If the caller is cancelled, the run's turn still ends only with the work; otherwise a client could start it
        again and again.
        """
        if size <= LARGE_BYTES:
            return work(*given)
        await known.turn.acquire()
        job = asyncio.get_running_loop().run_in_executor(self.workers, functools.partial(work, *given))
        job.add_done_callback(lambda _: known.turn.release())
        return await asyncio.shield(job)

    def proxy_of(self, address: str) -> str | None:
        """The proxy from HTTPS_PROXY, HTTP_PROXY and NO_PROXY. None for this machine's loopback, which no proxy can
        reach. aiohttp's `trust_env` is not used, because it would add keys from ~/.netrc."""
        try:
            at = urlsplit(address).scheme, urlsplit(address).hostname or ""
        except ValueError:
            return None
        if at not in self.proxies:
            self.proxies[at] = None if is_here(at[1]) or proxy_bypass(at[1]) else getproxies().get(at[0])
        return self.proxies[at]

    def rest(self, grant: Grant, seconds: float) -> None:
        """Pauses all calls with this address and key, because the provider asked for it."""
        self.resting[grant.base_url, grant.api_key] = self.clock.steady() + seconds

    async def rested(self, grant: Grant) -> None:
        """Waits for the end of the pause, if there is one."""
        at = grant.base_url, grant.api_key
        while (left := self.resting.get(at, 0) - self.clock.steady()) > 0:
            await self.clock.sleep(left)
        self.resting.pop(at, None)


@contextlib.asynccontextmanager
async def client(
    idle_seconds: float = 300, prices_file: Path | None = None, wrapped: Wrapped = as_it_is, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """The client for all calls of a server.

    `idle_seconds`: how long a provider may be silent within a call, and how long a guest may not read. `prices_file`
    replaces the built-in price table. `wrapped` wraps the live upstream or replaces it. `clock`: for pauses that
    providers ask for.
    """
    prices = Prices.read(prices_file)
    session = _Session(idle_seconds)
    opened = Client(wrapped(live(session.opened)), prices, idle_seconds, clock or Clock())
    try:
        yield opened
    finally:
        opened.workers.shutdown(wait=False, cancel_futures=True)
        await session.close()


async def load() -> None:
    """Imports the library for calls to providers. It takes a fifth of the start-up time, so it is only imported when
    needed, in a thread."""
    await asyncio.to_thread(importlib.import_module, "aiohttp")


class _Session:
    """Opens the session with the first call."""

    def __init__(self, idle_seconds: float):
        self._idle_seconds = idle_seconds
        self._opening = asyncio.Lock()
        self._opened: aiohttp.ClientSession | None = None

    async def opened(self) -> "aiohttp.ClientSession":
        async with self._opening:
            if self._opened is None:
                await load()
                self._opened = self._open()
            return self._opened

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._idle_seconds),
            read_bufsize=READ_BYTES,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
            trust_env=False,
        )

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()
