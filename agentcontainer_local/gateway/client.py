"""The connection to the providers: opened once, shared by all calls."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from agentcontainer_local.prices import Prices

CONNECT_SECONDS = 30
KEEPALIVE_SECONDS = 30
READ_BYTES = 256 * 1024            # of an answer that is faster than its reader


@dataclass(frozen=True)
class Client:
    session: aiohttp.ClientSession
    prices: Prices
    idle_seconds: float
    proxies: dict[tuple[str, str], str | None] = field(default_factory=dict)    # that were found, by scheme and host

    def proxy(self, url: URL) -> str | None:
        """As HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. aiohttp's own `trust_env` would add keys from ~/.netrc."""
        at = (url.scheme, url.host or "")
        if at not in self.proxies:
            self.proxies[at] = None if proxy_bypass(at[1]) else getproxies().get(at[0])
        return self.proxies[at]


@contextlib.asynccontextmanager
async def client(idle_seconds: float = 300, prices_file: Path | None = None) -> AsyncIterator[Client]:
    """`idle_seconds`: how long a provider may be silent within a call, and a guest not read what it says.

    `prices_file` replaces the package's table.
    """
    prices = Prices.read(prices_file)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle_seconds),
        read_bufsize=READ_BYTES,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
        trust_env=False,
    ) as session:
        yield Client(session, prices, idle_seconds)
