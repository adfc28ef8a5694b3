"""One call, to the provider and back."""

import functools
import io
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from agentcontainer_local.gateway import headers
from agentcontainer_local.gateway.call import Call
from agentcontainer_local.gateway.client import Client
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.refusal import Refusal
from agentcontainer_local.gateway.usage import Figures, Meter, Usage
from agentcontainer_local.tasks import Worst

ONE_WRITE_BYTES = 1024 * 1024       # more than this is sent in pieces, so that other streams are not held up
MOST_ERROR_BYTES = 256 * 1024
GUEST_WENT_AWAY = 499
BYTES_A_TOKEN = 4                  # about


@dataclass
class Forwarded:
    """What is known of a call while it goes on."""

    grant: Grant
    client: Client
    call: Call
    body: bytes = field(repr=False)         # as it is sent
    worst: Worst | None = None      # the most that it can use; None for a call that is not metered
    asked: bool = False             # it may have reached the provider
    status: int = GUEST_WENT_AWAY
    started: bool = False           # the guest has the status line
    answered: bool = False          # with a status
    whole: bool = False             # the provider ended its answer as it should
    meter: Meter | None = field(default=None, repr=False)

    @property
    def figures(self) -> Figures:
        return self.meter.figures if self.meter else Figures()

    def usage(self) -> Usage:
        """Of an answer that is over, whole or not."""
        if self.meter is not None:
            self.meter.close()
            self._estimate(self.meter)
        guessed = self._counts() == "told" and self._guess()
        figures, model = self.figures, self._answered_by(self.figures.model)
        return Usage(
            provider=self.grant.provider, model=model,
            input_tokens=figures.input_tokens, output_tokens=figures.output_tokens,
            cache_read_tokens=figures.cache_read_tokens, cache_write_tokens=figures.cache_write_tokens,
            cost_microusd=self.client.prices.cost_microusd(self.grant.provider, model, figures),
            status=self.status, complete=self.whole and figures.ended, counts=self._counts(),
            guessed=guessed,
        )

    def _counts(self) -> str:
        """A provider that refused, or was not reached, takes nothing; what a cut call costs in the end nobody tells."""
        if not self.asked or (self.answered and self.status >= 400):
            return "nothing"
        figures = self.figures
        priced = figures.reported_usd is not None or not figures.doubtful
        return "told" if self.whole and figures.ended and figures.told and priced else "worst"

    def _guess(self) -> bool:
        """Whether the provider said of a prompt that it had no tokens; it counts at the most that it can have had, and
        an answer without tokens at the most that so many bytes can be."""
        figures, meter = self.figures, self.meter
        if meter is None or self.worst is None or figures.prompt_tokens or not self.call.has_prompt:
            return False
        figures.input_tokens = self.worst.input_tokens
        figures.output_tokens = figures.output_tokens or min(self.worst.output_tokens, meter.size_bytes)
        return True

    def _estimate(self, meter: Meter) -> None:
        """For who looks at the figures: what a call that was cut has used about, where it did not say more."""
        if self._counts() == "worst":
            figures = meter.figures
            figures.input_tokens += 0 if figures.prompt_tokens else len(self.body) // BYTES_A_TOKEN
            figures.output_tokens = max(figures.output_tokens, meter.events)

    def _answered_by(self, model: str | None) -> str:
        """The model that was asked (providers answer with a dated name of it), or one of the stand-ins it named."""
        named = [one["model"] for one in self.call.body.get("fallbacks") or []]
        return model if model in named else self.call.model


async def forward(state: Forwarded, send) -> None:
    """Passes the answer on as it comes, all but its end; a cut answer never ends. Raises Refusal when there is none."""
    url, raw = _url(state), state.body
    state.asked = True
    try:
        async with state.client.session.post(
            url, data=raw if len(raw) <= ONE_WRITE_BYTES else io.BytesIO(raw),
            headers=headers.to_provider(state.call.headers, state.grant),
            proxy=state.client.proxy(url), allow_redirects=False,
        ) as response:
            await _relay(state, response, send)
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL):
        state.asked = False
        _failed(state, 502, "The provider could not be reached: upstream connection error.")
    except aiohttp.ConnectionTimeoutError:
        state.asked = False
        _failed(state, 504, "The provider could not be reached in time: upstream timeout.")
    except TimeoutError:
        _failed(state, 504, "The provider was silent for too long: upstream timeout.")
    except (aiohttp.ClientError, OSError, ValueError):
        _failed(state, 502, "The provider could not be reached: upstream connection error.")


def _url(state: Forwarded) -> URL:
    """Built from the settings and our own table; of the guest's there is only a query of harmless characters."""
    address = state.grant.base_url.rstrip("/") + state.call.route.path
    query = state.call.query.decode("ascii")
    return _parsed(f"{address}?{query}" if query else address)


@functools.lru_cache(64)
def _parsed(address: str) -> URL:
    return URL(address, encoded=True)


def _failed(state: Forwarded, status: int, message: str) -> None:
    """An answer that has begun can only be cut, which the server does when the app returns before its end."""
    if not state.started:
        state.status = status
        raise Refusal(status, "api_error", message)


async def _relay(state: Forwarded, response: aiohttp.ClientResponse, send) -> None:
    state.status, state.answered = response.status, True
    if 300 <= response.status < 400:
        _failed(state, 502, "The provider answered with a redirect: upstream connection error.")
    passed = headers.to_guest(response.raw_headers, state.grant)
    if response.status >= 400:
        await _relay_error(state, response, passed, send)
        return
    state.meter = Meter(state.call.route.dialect, "event-stream" in response.content_type)
    length = [] if "content-encoding" in response.headers else [
        (b"content-length", value) for name, value in response.raw_headers if name.lower() == b"content-length"]
    state.started = True
    await send({"type": "http.response.start", "status": response.status, "headers": passed + length})
    async for chunk in response.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        state.meter.feed(chunk)     # after it was sent: counting delays nothing
    state.whole = True


async def _relay_error(state: Forwarded, response: aiohttp.ClientResponse, passed, send) -> None:
    """The provider's own words, but never the key: OpenAI quotes a part of a wrong one."""
    if response.status == 401:
        raise Refusal(401, "authentication_error", "The provider did not accept the API key.")
    body = await response.content.read(MOST_ERROR_BYTES)
    while len(body) < MOST_ERROR_BYTES and (more := await response.content.read(MOST_ERROR_BYTES - len(body))):
        body += more
    if state.grant.api_key:
        body = body.replace(state.grant.api_key.encode(), b"***")
    state.started = True
    head = {"type": "http.response.start", "status": response.status}
    await send(head | {"headers": [*passed, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    state.whole = True
