"""The connection of a simulated guest to the host: calls the engine's ASGI app within this process."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.05  # pause after a 503, when the store is busy
SERVER = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http"}

Body = bytes | Callable[[], Iterable[bytes]]  # a function if the body has to be created again for each try
Headers = Iterable[tuple[bytes, bytes]]


class Unreachable(Exception):
    """The connection ended before the answer was complete. Try again."""


class Answer:
    """The answer to one request. Its body can be read in pieces or as a whole."""

    def __init__(self, status: int, pieces: AsyncIterator[bytes]):
        self.status = status
        self.pieces = pieces

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces])


class Door:
    """Open while the engine serves the run. Requests that are made or cut while it is closed are repeated."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._opened = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()

    def open(self, app: ASGIApp) -> None:
        self._app = app
        self._opened.set()

    async def close(self) -> None:
        """Ends every request."""
        self._opened.clear()
        self._app = None
        await _ended(*self._answering)

    async def ask(self, method: str, path: str, given: Any = None, headers: Headers = ()) -> tuple[int, Any]:
        """Sends a request with JSON until it is answered. Returns (status, JSON of the answer)."""
        body = b"" if given is None else json.dumps(given).encode()
        return await self.send(method, path, body, [(b"content-type", b"application/json"), *headers])

    async def send(self, method: str, path: str, body: Body, headers: Headers = ()) -> tuple[int, Any]:
        while True:
            with contextlib.suppress(Unreachable):
                async with self.request(method, path, body, headers) as answer:
                    text = await answer.body()
                if answer.status != 503:
                    return answer.status, _json(text)
                await asyncio.sleep(RETRY_SECONDS)

    @contextlib.asynccontextmanager
    async def request(self, method: str, path: str, body: Body = b"", headers: Headers = ()) -> AsyncIterator[Answer]:
        """Sends the request once, as soon as the door is open. Raises Unreachable if the answer is cut."""
        await self._opened.wait()
        app = self._app
        assert app is not None
        path, _, query = path.partition("?")
        scope = {
            **SERVER,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"host"), *headers],
            "client": None,
            "server": ("host", 80),
        }
        exchange = _Exchange(body)
        answering = asyncio.create_task(exchange.run(app, scope), name=f"{method} {path}")
        self._answering.add(answering)
        try:
            yield Answer(await exchange.status(), exchange.pieces())
        finally:
            self._answering.discard(answering)
            await _ended(answering)


class _Exchange:
    """A request as the app sees it, and its answer as the guest sees it."""

    def __init__(self, body: Body):
        self._body = iter((body,) if isinstance(body, bytes) else body())
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()  # None: the answer was cut
        self._left = asyncio.Event()

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the host failed to answer %s %s", scope["method"], scope["path"])
        finally:
            self._messages.put_nowait(None)

    async def status(self) -> int:
        return int((await self._next())["status"])

    async def pieces(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._next()
            more = message.get("more_body", False)
            if piece := message.get("body"):
                yield piece

    async def _next(self) -> Message:
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
            raise Unreachable
        return message

    async def _receive(self) -> Message:
        piece = next(self._body, None)
        if piece is not None:
            return {"type": "http.request", "body": piece, "more_body": True}
        if not self._left.is_set():
            self._left.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.get_running_loop().create_future()  # the guest stays connected until it is answered
        raise AssertionError

    async def _send(self, message: Message) -> None:
        self._messages.put_nowait(message)


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def chunks(path: Path, size: int = 256 * 1024) -> Iterator[bytes]:
    """A file's content in pieces, as a request body."""
    with path.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
