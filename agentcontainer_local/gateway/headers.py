"""Which headers pass between the guest and a provider."""

import re
from collections.abc import Iterable

from multidict import CIMultiDict

from agentcontainer_local.gateway.grant import Grant

VALUE = re.compile(r"[\t\x20-\x7e]{0,4096}")

# Lists of what passes, since a provider may take a credential, an account or a routing wish from any other header.
TO_PROVIDER = re.compile(
    r"accept|content-type|user-agent|anthropic-version|anthropic-beta|anthropic-dangerous-direct-browser-access"
    r"|openai-beta|x-app|x-stainless-[a-z-]+|http-referer|x-title|x-openrouter-[a-z-]+"
    r"|x-client-request-id|session_id|session-id|x-session-affinity|idempotency-key"
)
TO_GUEST = re.compile(
    rb"content-type|retry-after|retry-after-ms|x-should-retry|request-id|x-request-id|cf-ray|cache-control"
    rb"|anthropic-ratelimit-[a-z-]+|x-ratelimit-[a-z-]+|openai-processing-ms|openai-version|openai-model"
)


def to_provider(headers: Iterable[tuple[bytes, bytes]], grant: Grant) -> CIMultiDict[str]:
    """What the guest may say, and the key; not compressed, or the usage could not be read as it passes."""
    passed = CIMultiDict[str]()
    for name, value in ((n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in headers):
        if TO_PROVIDER.fullmatch(name) and VALUE.fullmatch(value):
            passed.add(name, value)
    passed["accept-encoding"] = "identity"
    passed.update(_credential(grant))
    return passed


def _credential(grant: Grant) -> dict[str, str]:
    """OpenRouter takes the same one on all its paths, the Anthropic-like one too."""
    if grant.api_key is None:
        return {}
    if grant.provider == "anthropic":
        return {"x-api-key": grant.api_key}
    return {"authorization": f"Bearer {grant.api_key}"}


def to_guest(headers: Iterable[tuple[bytes, bytes]], grant: Grant) -> list[tuple[bytes, bytes]]:
    """Not Set-Cookie, nor the names of the account, nor the key, should a provider of somebody's own send it back."""
    key = (grant.api_key or "\0").encode()
    return [
        (name.lower(), value) for name, value in headers if TO_GUEST.fullmatch(name.lower()) and key not in value
    ]
