"""One model call as the guest asked for it."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from agentcontainer_local.gateway import content, routes
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.refusal import Refusal, forbidden, malformed
from agentcontainer_local.prices import Prices

MOST_BODY_BYTES = 64 * 1024 * 1024
LARGE_BODY_BYTES = 1024 * 1024      # from here on reading the JSON would hold up other streams
# By their signs, which may be in texts too. A value takes some sixty bytes of memory, and a thread that reads JSON does
# not let others go on.
MOST_LISTS, MOST_VALUES = 500_000, 4_000_000

QUERY = re.compile(rb"[A-Za-z0-9._~=&-]{0,1024}")     # Pi sends `beta=true`

# What would make the provider call another model, connect to somebody, or work on where the gateway cannot count.
# Or use what lies in the provider account, which is not the task's.
CLOSED_FIELDS = (
    "preset", "plugins", "mcp_servers", "background", "previous_response_id", "conversation", "prompt", "container",
)
FIELDS = frozenset({
    "model", "models", "fallbacks", "tools", "messages", "input", "system", "n", "max_tokens", "max_output_tokens",
    "max_completion_tokens", "service_tier", "speed", "modalities", "prediction", "audio", "best_of", "provider",
    "web_search_options", "stream", "stream_options", *CLOSED_FIELDS,
})
# Tools that the task itself runs; all others the provider would, with its own network and its own bill.
OWN_TOOLS = re.compile(r"function|custom|local_shell|apply_patch|(bash|text_editor|computer|memory)_\d{8}")


class Gone(Exception):
    """The client went away before its request was whole."""


@dataclass(frozen=True)
class Call:
    """`raw`: its body as we understood it, written anew; `inside`: of that."""

    route: routes.Route
    model: str
    body: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    inside: content.Content = field(repr=False)
    query: bytes
    headers: Iterable[tuple[bytes, bytes]] = field(repr=False)


async def admitted(grant: Grant | None, prices: Prices, scope, receive) -> Call:
    """The call, if this task may make it; raises Refusal."""
    route = routes.find(scope.get("raw_path") or scope["path"].encode())
    if scope["method"] != "POST" or route is None or grant is None or route.provider != grant.provider:
        raise forbidden("This path is not open to this task.")
    if not QUERY.fullmatch(scope["query_string"]):
        raise forbidden("This query is not open to this task.")
    if grant.refuse is not None:
        raise forbidden(grant.refuse)
    given = await _read(receive)
    large = len(given) > LARGE_BODY_BYTES
    body, raw, inside = await asyncio.to_thread(_of_large, given) if large else understood(given)
    check(body, grant, prices)
    check_reach(body, inside, grant)
    return Call(route, body["model"], body, raw, inside, scope["query_string"], scope["headers"])


async def _read(receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MOST_BODY_BYTES:
            raise Refusal(413, "request_too_large", f"The request is larger than {MOST_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return b"".join(chunks)


def _of_large(given: bytes) -> tuple[dict[str, Any], bytes, content.Content]:
    if given.count(b"[") + given.count(b"{") > MOST_LISTS or given.count(b",") > MOST_VALUES:
        raise Refusal(413, "request_too_large", "The request has millions of values.")
    return understood(given)


def understood(given: bytes) -> tuple[dict[str, Any], bytes, content.Content]:
    """The body, and its bytes written anew: so the provider reads what we have checked, whatever it makes of a name
    that is there twice, of an escape or of a number."""
    try:
        body = orjson.loads(given)
        raw = orjson.dumps(body)
    except orjson.JSONDecodeError:
        raise malformed("The request body is not plain JSON.") from None
    except orjson.JSONEncodeError:
        raise malformed("The request is nested too deep.") from None
    if not isinstance(body, dict):
        raise malformed("The request body is not a JSON object.")
    return body, raw, content.of_body(body)


def check(body: dict[str, Any], grant: Grant, prices: Prices) -> None:
    """Only the task's own models, by whichever field they are named."""
    if any(name.casefold() in FIELDS and name != name.casefold() for name in body):
        raise forbidden("The names of fields are written in small letters.")
    others = body.get("models") or []
    if not isinstance(others, list) or not all(_allowed(name, grant) for name in [body.get("model"), *others]):
        raise forbidden("This task may not call this model.")
    if not _harmless(body.get("fallbacks") or [], body["model"], grant, prices):
        raise forbidden("This task may not fall back to this model.")
    for name in CLOSED_FIELDS:
        if body.get(name):
            raise forbidden(f"The field `{name}` is not open to this task.")


def check_reach(body: dict[str, Any], inside: content.Content, grant: Grant) -> None:
    """A task without internet has none through the provider either, nor anything that lies in the provider account."""
    if inside.stored:
        raise forbidden("Files that the provider keeps are not open to this task.")
    if inside.fetched and not grant.internet:
        raise forbidden("This task may not have the provider fetch something from an address; send it as data.")
    if (not grant.internet or grant.capped) and not _all_own(body.get("tools")):
        raise forbidden("Tools that the provider runs are not open to this task.")
    if body.get("web_search_options") and not grant.internet:
        raise forbidden("The provider's search is not open to this task.")


def _all_own(tools: Any) -> bool:
    if not tools:
        return True
    kinds = [tool.get("type") or "custom" if isinstance(tool, dict) else None for tool in tools] if isinstance(
        tools, list) else [None]
    return all(isinstance(kind, str) and OWN_TOOLS.fullmatch(kind) for kind in kinds)


def _allowed(model: Any, grant: Grant) -> bool:
    return isinstance(model, str) and model in grant.models


def _harmless(fallbacks: Any, model: str, grant: Grant, prices: Prices) -> bool:
    """Pi names the vendor's own stand-ins for some Claude models: fine where they cost no more than what was asked."""
    names = [one.get("model") if isinstance(one, dict) else None for one in fallbacks] if isinstance(
        fallbacks, list) else [None]
    return all(_allowed(name, grant) or prices.no_dearer(grant.provider, name, model) for name in names)
