"""The headers that pass between guest and provider."""

import re
from collections.abc import Iterable, Iterator

from multidict import CIMultiDict

from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.refusal import forbidden
from agentcontainer_local.providers import PROVIDERS

# The headers of Pi that a provider may see, with their allowed values. Node adds those in OURS; they apply to this
# connection only, or are credentials, which the provider's key replaces. All others are refused: a provider could take
# an account, a price or a URL to call from them.
TO_PROVIDER = {
    "user-agent": re.compile(r"[ -~]{1,200}"),
    "anthropic-version": re.compile(r"2023-06-01"),
    "anthropic-beta": re.compile(
        "({0})( *, *({0}))*".format(
            "|".join(
                (
                    "fine-grained-tool-streaming-2025-05-14",
                    "interleaved-thinking-2025-05-14",
                    "server-side-fallback-2026-07-01",
                    "mid-conversation-output-config-2026-07-01",
                    "thinking-binding-controls-2026-08-01",
                    "inline-tools-2026-09-15",
                )
            )
        )
    ),
    "anthropic-dangerous-direct-browser-access": re.compile(r"true"),
    "session-id": re.compile(r"[\w.-]{1,200}", re.ASCII),
    "x-session-id": re.compile(r"[\w.-]{1,200}", re.ASCII),
    "x-client-request-id": re.compile(r"[\w.-]{1,200}", re.ASCII),
    **{
        f"x-stainless-{name}": re.compile(r"[\w.:-]{1,40}", re.ASCII)
        for name in ("arch", "lang", "os", "package-version", "retry-count", "runtime", "runtime-version", "timeout")
    },
}
OURS = frozenset(
    {
        "host",
        "connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "content-length",
        "expect",
        "upgrade",
        "http2-settings",
        "accept",
        "accept-encoding",
        "accept-language",
        "content-type",
        "sec-fetch-mode",
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "cookie",
    }
)
TO_GUEST = re.compile(
    rb"content-type|retry-after|retry-after-ms|x-should-retry|request-id|x-request-id|cf-ray|cache-control"
    rb"|anthropic-ratelimit-[a-z-]+|x-ratelimit-[a-z-]+|openai-processing-ms|openai-version|openai-model"
)


def check(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises a Refusal that names the first header that is not allowed, or whose value is not allowed."""
    for name, value in _read(headers):
        if name in OURS:
            continue
        if name not in TO_PROVIDER:
            raise forbidden(f"The header `{name}` is not allowed for this task.")
        if not TO_PROVIDER[name].fullmatch(value):
            raise forbidden(f"The value of the header `{name}` is not allowed for this task.")


def _read(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        yield name.decode("latin-1").lower(), value.decode("latin-1")


def to_provider(headers: Iterable[tuple[bytes, bytes]], grant: Grant, dialect: str) -> CIMultiDict[str]:
    """The allowed headers of the call, with the provider's key. Without compression, so that the usage can be read."""
    passed = CIMultiDict[str]((name, value) for name, value in _read(headers) if name in TO_PROVIDER)
    passed.update({"accept": "application/json", "content-type": "application/json", "accept-encoding": "identity"})
    passed.update(_credential(grant, dialect))
    return passed


def _credential(grant: Grant, dialect: str) -> dict[str, str]:
    """The credential header for the dialect. OpenRouter uses the same one for all its paths."""
    if grant.api_key is None:
        return {}
    if dialect in ("messages", "count") and not PROVIDERS[grant.provider].is_router:
        return {"x-api-key": grant.api_key}
    return {"authorization": f"Bearer {grant.api_key}"}


def to_guest(headers: Iterable[tuple[bytes, bytes]], grant: Grant) -> list[tuple[bytes, bytes]]:
    """The allowed headers of the answer. Cookies, account names and values with the key are not passed on."""
    key = (grant.api_key or "\0").encode()
    return [(name.lower(), value) for name, value in headers if TO_GUEST.fullmatch(name.lower()) and key not in value]
