"""The egress proxy of a run: checks each request, and connects to a checked address."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h11

from agentcontainer_local import hostnames
from agentcontainer_local.egress.connection import READ_BYTES, Peer
from agentcontainer_local.egress.denials import Denials, Denied, Refused
from agentcontainer_local.egress.resolver import Outside
from agentcontainer_local.egress.tunnel import one_request, tunnel
from agentcontainer_local.engine.host import Host
from agentcontainer_local.sandbox.backend import StreamHandler
from agentcontainer_local.store.rows import Task

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 100  # per run
HEAD_SECONDS = 30  # time limit for receiving a request's head
RESOLVE_SECONDS, RESOLVERS = 20, 4
CONNECT_SECONDS, MAX_TRIED_ADDRESSES = 10, 4

PLAIN = re.compile(r"http://([^/?#]*)(/[^#]*|\?[^#]*)?", re.IGNORECASE)


@contextlib.asynccontextmanager
async def opened(host: Host, task: Task, outside: Outside) -> AsyncIterator[StreamHandler | None]:
    """The handler for the run's connections; None if no host is allowed."""
    allowed = [hostnames.allowed(text) for text in json.loads(task["allowed_hosts"])]
    if not allowed:
        yield None
        return
    proxy = Proxy(allowed, Denials(host, task["id"]), outside)
    try:
        yield proxy.accept
    finally:
        await proxy.close()


class Proxy:
    def __init__(self, allowed: list[hostnames.Allowed], denials: Denials, outside: Outside):
        self._allowed = allowed
        self._denials = denials
        self._outside = outside
        self._connections: set[asyncio.Task[Any]] = set()
        self._closed = False
        # a separate pool, so that slow names do not delay other work
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "resolve")

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed or len(self._connections) >= MAX_CONNECTIONS:
            return writer.transport.abort()
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            return await self._serve(Peer(reader, writer))
        finally:
            self._connections.discard(connection)

    async def close(self) -> None:
        self._closed = True
        for connection in (open := list(self._connections)):
            connection.cancel()
        await asyncio.gather(*open, return_exceptions=True)
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, client: Peer) -> None:
        try:
            await self._answer(client)
        except* (OSError, TimeoutError, h11.ProtocolError):
            pass  # one side disconnected; the other side notices
        except* Exception:
            log.exception("egress failed task=%s", self._denials.task_id)
        finally:
            await client.close()

    async def _answer(self, client: Peer) -> None:
        try:
            request, host, port, path = await _asked(client)
            far = await self._connected(host, port)
        except Refused as refused:
            if isinstance(refused, Denied):
                self._denials.record(refused)
            return await client.answer(refused.status, str(refused))
        except ConnectionAbortedError:
            return None
        try:
            if request.method == b"CONNECT":
                return await tunnel(client, far)
            return await one_request(client, far, request, host if port == 80 else f"{host}:{port}", path)
        finally:
            await far.close()

    async def _connected(self, host: str, port: int) -> Peer:
        """Connects to a checked address, never to the name again, because that could resolve differently now."""
        if not hostnames.is_allowed(self._allowed, host, port):
            raise Denied(403, f"This task may not connect to {host} port {port}.", host, port)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._resolvers, self._outside.resolve, host)
        except (OSError, TimeoutError):
            raise Refused(502, f"The name {host} can't be resolved.") from None
        public = [address for address in found if self._outside.reachable(address)]
        if not public:
            text = f"{host} has no public address."
            raise Denied(403, text, host, port, tuple(str(address) for address in found[:MAX_TRIED_ADDRESSES]))
        for address in public[:MAX_TRIED_ADDRESSES]:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    opened = await asyncio.open_connection(str(address), port, limit=READ_BYTES)
                return Peer(*opened, role=h11.CLIENT)
        raise Refused(502, f"{host} port {port} can't be connected to.")


async def _asked(client: Peer) -> tuple[h11.Request, str, int, str]:
    """The request, host, port and path. Raises Denied, and ConnectionAbortedError if there is no request."""
    try:
        async with asyncio.timeout(HEAD_SECONDS):
            request = await client.next()
            if not isinstance(request, h11.Request):
                raise ConnectionAbortedError
            target = request.target.decode("ascii")
            if request.method == b"CONNECT" and not isinstance(await client.next(), h11.EndOfMessage):
                raise ValueError("a CONNECT has no body")
            return request, *destination(request.method, target)
    except h11.RemoteProtocolError as error:
        line = client.first.split(b"\r\n")[0].decode("ascii", "backslashreplace")
        raise Denied(400, f"Invalid proxy request ({error}).", repr(line)) from None
    except ValueError as error:
        raise Denied(400, f"Invalid host: {error}.", target[:300]) from None


def destination(method: bytes, target: str) -> tuple[str, int, str]:
    """The requested host, port and path. Raises ValueError."""
    if method == b"CONNECT":
        return *hostnames.destination(target), ""
    plain = PLAIN.fullmatch(target)
    if plain is None:
        raise ValueError("only CONNECT requests and http:// addresses are supported")
    path = plain[2] or "/"
    return *hostnames.destination(plain[1], 80), path if path.startswith("/") else f"/{path}"
