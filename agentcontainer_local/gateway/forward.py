"""Forwards one call to the provider and its answer to the guest."""

import asyncio
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.types import Send
from yarl import URL

from agentcontainer_local.gateway import failure, headers, watch
from agentcontainer_local.gateway.admission import Call
from agentcontainer_local.gateway.failure import Failed, Failure
from agentcontainer_local.gateway.grant import Grant, Progress
from agentcontainer_local.gateway.metering import Figures, Meter
from agentcontainer_local.gateway.provider_session import Client
from agentcontainer_local.gateway.upstream import Request, Response
from agentcontainer_local.store.tasks import Counts, Reserved, Usage, Worst

MAX_ERROR_BYTES = 256 * 1024
MAX_PREAMBLE_BYTES = 64 * 1024  # before the first event of a stream
DRAIN_SECONDS = 5  # waiting time for the usage that may follow an error
GUEST_WENT_AWAY = 499
BYTES_A_TOKEN = 4  # approximately
FIELDS = (b":", b"data:", b"event:", b"id:", b"retry:")  # the possible beginnings of a line of server-sent events


@dataclass
class Forwarded:
    """The state of a call in progress."""

    grant: Grant
    client: Client
    call: Call
    body: bytes = field(repr=False)  # as sent
    worst: Worst | None = None  # the most that the call can use; None for a call that is not metered
    reserved: Reserved = field(default_factory=lambda: Reserved(0, 0))
    progress: Progress = field(default_factory=Progress)
    asked: bool = False  # the request may have reached the provider
    status: int = GUEST_WENT_AWAY
    started: bool = False  # the guest has got the status line: the first event, or another answer, has arrived
    answered: bool = False  # the provider sent a status
    whole: bool = False  # the provider ended its answer normally
    meter: Meter | None = field(default=None, repr=False)
    failure: Failure | None = None
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.client.clock.steady()

    @property
    def figures(self) -> Figures:
        return self.meter.figures if self.meter else Figures()

    @property
    def streams(self) -> bool:
        return self.call.body.get("stream") is True and self.call.route.dialect != "count"

    def usage(self) -> Usage:
        """The usage of an ended call, complete or not."""
        if self.meter is not None:
            self.meter.close()
        counts = self._counts()
        figures = self.meter.figures if self.meter else Figures()
        guessed = counts == "told" and self._guess_prompt()
        if counts == "worst":
            self._estimate(figures)
        model = self._answered_by(figures.model)
        complete = self.whole and figures.ended
        return Usage(
            provider=self.grant.provider,
            model=model,
            input_tokens=figures.input_tokens,
            output_tokens=figures.output_tokens,
            cache_read_tokens=figures.cache_read_tokens,
            cache_write_tokens=figures.cache_write_tokens,
            cost_microusd=self.client.prices.cost_microusd(self.grant.provider, model, figures),
            status=self.status,
            complete=complete,
            counts=counts,
            guessed=guessed,
            error=self._error(complete),
            detail=self._detail(),
        )

    def _counts(self) -> Counts:
        """What budgets count. Nothing, if the provider refused, was not reached, or failed before its answer.

        The worst case, if the answer was cut, because its cost is unknown. That includes a call without a stream that
        failed while the provider may have been working on it.
        """
        before_all = self.failure is not None and not self.started and (self.answered or self.streams)
        if not self.asked or (self.answered and self.status >= 400) or before_all:
            return "nothing"
        figures = self.figures
        priced = figures.reported_usd is not None or not figures.doubtful
        return "told" if self.whole and figures.ended and figures.told and priced else "worst"

    def _guess_prompt(self) -> bool:
        """Handles a provider that reports 0 tokens for a prompt. The prompt counts at its worst case, and an answer
        without tokens at the most that its bytes can be. Returns whether that was necessary."""
        figures, meter = self.figures, self.meter
        if meter is None or self.worst is None or figures.prompt_tokens or not self.call.has_prompt:
            return False
        figures.input_tokens = self.worst.input_tokens
        figures.output_tokens = figures.output_tokens or min(self.worst.output_tokens, meter.size_bytes)
        return True

    def _estimate(self, figures: Figures) -> None:
        """Estimates the usage of a cut call for display, where the provider did not report more."""
        figures.input_tokens += 0 if figures.prompt_tokens else len(self.body) // BYTES_A_TOKEN
        figures.output_tokens = max(figures.output_tokens, self.meter.events if self.meter else 0)

    def _answered_by(self, model: str | None) -> str:
        """The requested model (providers answer with a dated name), or a fallback model that the call names."""
        named = [one["model"] for one in self.call.body.get("fallbacks") or []]
        return model if model is not None and model in named else self.call.model

    def _error(self, complete: bool) -> str | None:
        """The error, in a sentence; None for a successful call."""
        seconds, found = self.client.clock.steady() - self.began, self.failure
        if found is None and (self.status == GUEST_WENT_AWAY or not self.whole):
            return f"The task ended the call after {seconds:.1f} s, before the answer was whole."
        if found is None and (complete or not self.streams):
            return None
        found = found or failure.of_cut(EOFError(), 0)
        proxy = self.client.proxy_of(_address(self))
        return failure.sentence(found, self.grant, _address(self), self.call, seconds, proxy)

    def _detail(self) -> str | None:
        detail = self.failure.detail if self.failure else None
        return detail and failure.scrubbed(detail[: failure.MAX_DETAIL_CHARACTERS], self.grant.api_key)


async def forward(state: Forwarded, send: Send) -> None:
    """Forwards the call and passes the answer on as it arrives, without its end. A cut answer gets no end. Raises
    Refusal if there is no answer."""
    try:
        await _asked(state, send)
    except Failed as reason:
        state.asked = state.asked and not reason.failure.instead
        state.failure = _adjusted(state, reason.failure)
    except _errors() as error:
        state.failure = _adjusted(state, _failure_of(state, error))
    if state.failure is None:
        return
    if not state.answered:
        state.status = state.failure.status
    if not state.started:
        raise state.failure.refusal()
    if state.failure.kind != "passing":  # otherwise the cut tells Pi to retry
        await send(
            {
                "type": "http.response.body",
                "body": watch.told(state.call.route.dialect, state.failure.kind),
                "more_body": True,
            }
        )


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of a call. aiohttp is only imported after a failure; see provider_session.load."""
    from aiohttp import ClientError

    return ClientError, OSError, ValueError


def _failure_of(state: Forwarded, error: Exception) -> Failure:
    import aiohttp

    idle, address = state.client.idle_seconds, _address(state)
    if state.started:
        return failure.of_cut(error, idle)
    found = failure.of_error(error, address, state.client.proxy_of(address), state.grant.reached(), idle)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        state.asked = False
    return found


def _adjusted(state: Forwarded, found: Failure) -> Failure:
    """The failure, adjusted to this task: the number of attempts, and whether Pi has to be restarted first."""
    if found.retry_after:
        state.client.rest(state.grant, found.retry_after)
    if found.kind == "overflow" and state.grant.learn(state.call.model, found.window, len(state.body)):
        return Failure("fatal", found.status, found.what, found.remedy, found.detail, found.window)
    silent = state.reserved.silent_before + (found.status == 504 and not state.started)
    return failure.last(found, state.reserved.attempt, silent)


async def _asked(state: Forwarded, send: Send) -> None:
    request = _request(state)
    state.asked = True
    async with state.client.upstream(request) as response:
        await _relay(state, response, send)


def _request(state: Forwarded) -> Request:
    call = state.call
    return Request(
        grant=state.grant,
        route=call.route,
        query=call.query.decode("ascii"),
        document=call.body,
        body=state.body,
        headers=headers.to_provider(call.headers, state.grant, call.route.dialect),
        url=_url(state),
        proxy=state.client.proxy_of(_address(state)),
    )


def _address(state: Forwarded) -> str:
    """The address of the request, from the settings and our own table of paths."""
    return state.grant.base_url.rstrip("/") + state.call.route.path


def _url(state: Forwarded) -> URL:
    """The URL. Only the query comes from the guest, and it has only harmless characters."""
    query = state.call.query.decode("ascii")
    return _parsed(f"{_address(state)}?{query}" if query else _address(state))


@functools.lru_cache(64)
def _parsed(address: str) -> URL:
    return URL(address, encoded=True)


async def _relay(state: Forwarded, response: Response, send: Send) -> None:
    state.status, state.answered = response.status, True
    if 300 <= response.status < 400:
        raise Failed(failure.of_redirect(response.headers.get("location", "")))
    if response.status >= 400:
        body = await _read(response, b"", MAX_ERROR_BYTES)
        raise Failed(
            failure.of_status(
                response.status, response.reason, body, response.headers.get("retry-after"), state.call.route.dialect
            )
        )
    chunks = response.content.iter_any()
    first = await _first(state, response, chunks)
    meter = state.meter = Meter(state.call.route.dialect, state.streams or "event-stream" in response.content_type)
    length = (
        []
        if state.streams or "content-encoding" in response.headers
        else [(b"content-length", value) for name, value in response.raw_headers if name.lower() == b"content-length"]
    )
    watching = watch.Watch(state.call.route.dialect)
    first, found = watching.feed(first) if state.streams else (first, None)
    state.progress.came(watching.characters)
    if found and b"data:" not in first:
        raise Failed(found)
    state.started = True
    passed = headers.to_guest(response.raw_headers, state.grant)
    await send({"type": "http.response.start", "status": response.status, "headers": passed + length})
    await _pass(meter, first, send)
    while not found:
        chunk = await anext(chunks, b"")
        if not chunk:
            state.whole = True
            return
        if state.streams:
            chunk, found = watching.feed(chunk)
            state.progress.came(watching.characters)
        await _pass(meter, chunk, send)
    await _drain(meter, chunks)
    raise Failed(found)


async def _pass(meter: Meter, chunk: bytes, send: Send) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
    meter.feed(chunk)  # after sending, so that counting delays nothing


async def _first(state: Forwarded, response: Response, chunks: AsyncIterator[bytes]) -> bytes:
    """The answer up to its first event, or its first bytes without a stream. Raises Failed otherwise."""
    first = b""
    async for chunk in chunks:
        first += chunk
        if not state.streams and "html" not in response.content_type:
            break
        if not _may_stream(response.content_type, first):
            body = await _read(response, first, MAX_ERROR_BYTES)
            raise Failed(failure.of_body(response.content_type, body))
        if b"data:" in first or len(first) > MAX_PREAMBLE_BYTES:
            break
    if state.streams and b"data:" not in first and len(first) <= MAX_PREAMBLE_BYTES:
        if first.strip() and not first.lstrip().startswith(b":"):
            raise Failed(failure.of_body(response.content_type, first))
        from aiohttp import ServerDisconnectedError

        raise ServerDisconnectedError
    state.progress.began()
    return first


def _may_stream(content_type: str, first: bytes) -> bool:
    """Whether the answer can be a stream. Some servers send events with another content type."""
    if "event-stream" in content_type:
        return True
    begin = first.lstrip()[:6]
    return "html" not in content_type and any(begin.startswith(field[: len(begin)]) for field in FIELDS)


async def _drain(meter: Meter, chunks: AsyncIterator[bytes]) -> None:
    """Reads the rest after an error, because it may contain the usage."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for rest in chunks:
                meter.feed(rest)
    except _errors():
        return


async def _read(response: Response, body: bytes, most: int) -> bytes:
    while len(body) < most and (more := await response.content.read(most - len(body))):
        body += more
    return body
