"""What happens to a call to the model provider."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from agentcontainer_local.gateway.routes import Dialect
from agentcontainer_local.gateway.scripted import wire
from agentcontainer_local.gateway.upstream import Content, Request, Response, Upstream
from agentcontainer_local.testing.faults.planned import Plan
from agentcontainer_local.testing.faults.shapes import ProviderFault

Sleep = Callable[[float], Awaitable[None]]
CUT_AFTER_PIECES = 2
SLOW_SECONDS = 1.0
REFUSED = "I can't help with that."
WINDOW_TOKENS = 200_000
ERRORS: dict[int | str, tuple[int, str, str]] = {
    429: (429, "rate_limit_error", "The rate limit was exceeded. (A fault that the test asked for.)"),
    529: (529, "overloaded_error", "Overloaded. (A fault that the test asked for.)"),
    "overflow": (
        400,
        "invalid_request_error",
        f"prompt is too long: {WINDOW_TOKENS + 1} tokens > {WINDOW_TOKENS} maximum",
    ),
}
# How each format says that the model refuses, in the place of its usual end.
REFUSALS: dict[Dialect, tuple[tuple[bytes, bytes], ...]] = {
    "messages": ((b'"stop_reason": "end_turn"', b'"stop_reason": "refusal"'),),
    "completions": ((b'"finish_reason": "stop"', b'"finish_reason": "content_filter"'),),
    "responses": (
        (b"response.completed", b"response.incomplete"),
        (
            b'"status": "completed", "error": null, "incomplete_details": null',
            b'"status": "incomplete", "error": null, "incomplete_details": {"reason": "content_filter"}',
        ),
    ),
}


def around(upstream: Upstream, plan: Plan, sleep: Sleep) -> Upstream:
    """`sleep`: by the server's clock."""

    @contextlib.asynccontextmanager
    async def asked(request: Request) -> AsyncIterator[Response]:
        fault = None if request.route.dialect == "count" else plan.call(request.grant.task_id)
        if fault is None or fault.fault in ("cut_stream", "slow_stream"):
            async with upstream(request) as response:
                yield response if fault is None else _Streamed(response, fault, sleep)
        elif fault.fault == "timeout":
            await sleep(fault.seconds or 0)
            raise TimeoutError
        elif fault.fault == "refusal":
            yield _refusal(request)
        else:
            yield _error(fault)

    return asked


def _error(fault: ProviderFault) -> Response:
    status, type, message = ERRORS[fault.fault]
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    body = {"type": "error", "error": {"type": type, "message": message}}
    return _Answer(status, [json.dumps(body).encode()], "application/json", headers)


def _refusal(request: Request) -> Response:
    dialect = request.route.dialect
    words = wire.Answer(
        "refused", str(request.document["model"]), REFUSED, input_tokens=len(request.body) // 4, output_tokens=8
    )
    if request.document.get("stream"):
        pieces, content_type = [*wire.stream(dialect, words)], "text/event-stream"
    else:
        pieces, content_type = [json.dumps(wire.whole(dialect, words)).encode()], "application/json"
    for usual, refused in REFUSALS[dialect]:
        pieces = [piece.replace(usual, refused) for piece in pieces]
    return _Answer(200, pieces, content_type)


class _Answer:
    """An answer that is there at once."""

    def __init__(self, status: int, pieces: list[bytes], content_type: str, headers: Mapping[str, str] | None = None):
        self.status, self.content_type = status, content_type
        self.reason = None
        self.headers = {"content-type": content_type, **(headers or {})}
        self.raw_headers = tuple((name.encode(), value.encode()) for name, value in self.headers.items())
        self.content = _Pieces(pieces)


class _Pieces:
    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)

    async def read(self, n: int = -1) -> bytes:
        """All of it."""
        whole, self._pieces = b"".join(self._pieces), []
        return whole


class _Streamed:
    """An answer that comes slowly, or is cut."""

    def __init__(self, response: Response, fault: ProviderFault, sleep: Sleep):
        self.status, self.reason, self.content_type = response.status, response.reason, response.content_type
        self.headers, self.raw_headers = response.headers, response.raw_headers
        self.content = _Stream(response.content, fault, sleep)


class _Stream:
    def __init__(self, content: Content, fault: ProviderFault, sleep: Sleep):
        self._content, self._fault, self._sleep = content, fault, sleep

    async def iter_any(self) -> AsyncIterator[bytes]:
        passed = 0
        async for piece in self._content.iter_any():
            if self._fault.fault == "cut_stream" and passed == (self._fault.pieces or CUT_AFTER_PIECES):
                break
            if self._fault.fault == "slow_stream" and passed:
                await self._sleep(SLOW_SECONDS if self._fault.seconds is None else self._fault.seconds)
            yield piece
            passed += 1
        if self._fault.fault == "cut_stream":
            from aiohttp import ClientPayloadError  # a fifth of a server's start, and seldom needed

            raise ClientPayloadError("cut by a fault that the test asked for")

    async def read(self, n: int = -1) -> bytes:
        return await self._content.read(n)
