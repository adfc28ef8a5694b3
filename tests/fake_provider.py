"""A provider to test against: a real HTTP server that speaks every wire format, and fails on demand.

`with serving() as fake:` runs it in a thread of its own, for tests with an event loop and without. What it answers is
planned: `fake.plan(Answers("hello"), Fails(529))` is for the next two calls, `fake.plan(..., model="m")` for those to
that model; with no plan left it says "ok". `agent(...)` makes the plan of a whole agent.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from agentcontainer_local.gateway.scripted import wire

DIALECTS = {"/messages": "messages", "/responses": "responses", "/chat/completions": "completions"}


@dataclass(frozen=True)
class Answers:
    """An answer with text, tool calls as (name, arguments), or both. `cost_usd` is reported as OpenRouter does."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    input_tokens: int = 100
    output_tokens: int = 10
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True)
class Fails:
    status: int
    message: str = "planned failure"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cuts:
    """Closes the connection after some events of the answer; with 0, before its first byte."""

    answer: Answers
    after_events: int = 3


@dataclass(frozen=True)
class Silent:
    """Accepts and says nothing more; with an answer, after some events of it."""

    seconds: float = 3600
    answer: Answers | None = None
    after_events: int = 3


@dataclass(frozen=True)
class Drips:
    """The whole answer, a few bytes at a time."""

    answer: Answers
    bytes_at_once: int = 7
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class Raw:
    """These very bytes, in these pieces."""

    pieces: tuple[bytes, ...]
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()


Move = Answers | Fails | Cuts | Silent | Drips | Raw


def bash(command: str, **arguments: Any) -> Answers:
    return Answers(calls=(("bash", {"command": command, **arguments}),))


def agent(*commands: str, answer: str = "Done.") -> list[Answers]:
    """An agent that runs these commands one by one, and then says something."""
    return [*map(bash, commands), Answers(answer)]


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


@dataclass
class FakeProvider:
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    gone: int = 0  # clients that left before their answer was whole
    _plans: dict[str | None, deque[Move]] = field(default_factory=lambda: defaultdict(deque))

    def plan(self, *moves: Move | Iterable[Move], model: str | None = None) -> None:
        for move in moves:
            self._plans[model].extend(move if isinstance(move, list | tuple) else [move])

    def forget(self) -> None:
        """As new, for the next test."""
        self.seen.clear()
        self._plans.clear()
        self.gone = 0

    def base_url(self, provider: str) -> str:
        """As the vendor's SDK takes it."""
        return f"http://127.0.0.1:{self.port}" + {"anthropic": "", "openai": "/v1", "openrouter": "/api/v1"}[provider]

    def environ(self) -> dict[str, str]:
        """What makes a server use this provider for all three."""
        return {
            name: value
            for provider in ("anthropic", "openai", "openrouter")
            for name, value in (
                (f"AGENTCONTAINER_{provider.upper()}_BASE_URL", self.base_url(provider)),
                (f"{provider.upper()}_API_KEY", f"fake-key-of-{provider}"),
            )
        }

    async def __call__(self, scope, receive, send) -> None:
        request = await _request(scope, receive)
        self.seen.append(request)
        leaving = asyncio.create_task(_left(receive))
        answering = asyncio.create_task(self._answer(request, send))
        await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            self.gone += 1
            answering.cancel()
        leaving.cancel()
        await asyncio.gather(leaving, answering, return_exceptions=True)

    async def _answer(self, request: Seen, send) -> None:
        if request.path.endswith("/count_tokens"):
            await _send(send, 200, [(b"content-type", b"application/json")], [b'{"input_tokens": 42}'])
            return
        dialect = next((name for end, name in DIALECTS.items() if request.path.endswith(end)), None)
        if dialect is None or request.method != "POST":
            await _fail(send, Fails(404, "no such path"))
            return
        move = self._next(request.json.get("model"))
        match move:
            case Answers():
                await _send(send, 200, *_spoken(dialect, request, move, len(self.seen)))
            case Fails():
                await _fail(send, move)
            case Raw():
                headers = [(b"content-type", move.content_type.encode()), *_encoded(move.headers)]
                await _send(send, 200, headers, move.pieces)
            case Cuts():
                headers, events = _spoken(dialect, request, move.answer, len(self.seen))
                if move.after_events:
                    await _send(send, 200, headers, events[: move.after_events], ends=False)
            case Silent(answer=None):
                await asyncio.sleep(move.seconds)
            case Silent():
                headers, events = _spoken(dialect, request, move.answer, len(self.seen))
                await _send(send, 200, headers, events[: move.after_events], ends=False)
                await asyncio.sleep(move.seconds)
            case Drips():
                headers, events = _spoken(dialect, request, move.answer, len(self.seen))
                data, size = b"".join(events), move.bytes_at_once
                drops = [data[at : at + size] for at in range(0, len(data), size)]
                await _send(send, 200, headers, drops, pause_seconds=move.pause_seconds)

    def _next(self, model: Any) -> Move:
        for queue in (self._plans[model], self._plans[None]):
            if queue:
                return queue.popleft()
        return Answers("ok")


def _spoken(dialect: str, request: Seen, move: Answers, number: int) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    body = request.json
    calls = tuple(wire.ToolCall(f"call_{number}_{n}", name, given) for n, (name, given) in enumerate(move.calls))
    answer = wire.Answer(
        id=str(number),
        model=body.get("model", ""),
        text=move.text,
        calls=calls,
        input_tokens=move.input_tokens,
        output_tokens=move.output_tokens,
        cache_read_tokens=move.cache_read_tokens,
        cache_write_tokens=move.cache_write_tokens,
        cost_usd=move.cost_usd,
    )
    if not body.get("stream"):
        return [(b"content-type", b"application/json")], [json.dumps(wire.whole(dialect, answer)).encode()]
    options = body.get("stream_options") or {}
    events = list(wire.stream(dialect, answer, bool(options.get("include_usage"))))
    return [(b"content-type", b"text/event-stream"), (b"request-id", b"req_%d" % number)], events


async def _send(send, status: int, headers, pieces: Iterable[bytes], ends: bool = True, pause_seconds: float = 0.0):
    """Without its end the server closes the connection: that is a cut."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(pause_seconds)
    if ends:
        await send({"type": "http.response.body", "body": b""})


async def _fail(send, move: Fails) -> None:
    kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(move.status, "invalid_request_error")
    body = json.dumps({"type": "error", "error": {"type": kind, "message": move.message}}).encode()
    headers = [(b"content-type", b"application/json"), *_encoded(move.headers)]
    await _send(send, move.status, headers, [body])


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


async def _request(scope, receive) -> Seen:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    query = scope["query_string"].decode("latin-1")
    return Seen(scope["method"], scope["raw_path"].decode("latin-1"), query, headers, body)


async def _left(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def serving() -> Iterator[FakeProvider]:
    fake = FakeProvider()
    with in_thread(fake, lifespan="off") as port:
        fake.port = port
        yield fake


@contextlib.contextmanager
def in_thread(app, lifespan: str = "on", **options: Any) -> Iterator[int]:
    """Serves an app on a free port of the loopback; the port. What still hangs at the end is dropped."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan=lifespan,
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=1,
        **options,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
