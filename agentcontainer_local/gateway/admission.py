"""Admission of a model call: checks size, path, model and fields of the guest's request."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import Receive, Scope

from agentcontainer_local.gateway import content, headers, routes
from agentcontainer_local.gateway.allowed import check_body
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.provider_session import Client
from agentcontainer_local.gateway.refusal import Refusal, forbidden, malformed
from agentcontainer_local.http.json_size import has_more_values
from agentcontainer_local.prices import Prices

MAX_BODY_BYTES = 32 * 1024 * 1024  # the same as Anthropic's; reading more would delay other tasks
MAX_VALUES = 250_000  # values other than text; a task of a million tokens has fewer

QUERY = re.compile(rb"[A-Za-z0-9._~=&-]{0,1024}")  # Pi sends `beta=true`


CLOSED = "This path is not allowed for this task."


class Gone(Exception):
    """The client disconnected before its request was complete."""


@dataclass(frozen=True)
class Call:
    """An admitted call. `raw`: the body, serialised again after the check; `inside`: what counts of `raw` beyond its
    bytes."""

    route: routes.Route
    model: str
    body: dict[str, Any] = field(repr=False)
    raw: bytes = field(repr=False)
    inside: content.Content = field(repr=False)
    query: bytes
    headers: Iterable[tuple[bytes, bytes]] = field(repr=False)

    @property
    def has_prompt(self) -> bool:
        return any(self.body.get(name) for name in ("messages", "input", "system"))


async def admitted(grant: Grant, client: Client, scope: Scope, receive: Receive) -> Call:
    """Checks the call. Raises Refusal if this task may not make it."""
    route = routes.find(scope.get("raw_path") or scope["path"].encode())
    if scope["method"] != "POST" or route is None or route.provider != grant.provider:
        raise forbidden(CLOSED)
    if not QUERY.fullmatch(scope["query_string"]):
        raise forbidden("This query is not allowed for this task.")
    if grant.refuse is not None:
        raise forbidden(grant.refuse)
    headers.check(scope["headers"])
    given = await _read(receive)
    body, raw, inside = await client.aside(grant.known, len(given), _checked, route, given)
    check_models(body, grant, client.prices)
    return Call(route, body["model"], body, raw, inside, scope["query_string"], scope["headers"])


async def _read(receive: Receive) -> bytes:
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise Refusal(413, "request_too_large", f"The request is larger than {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return b"".join(chunks)


def _checked(route: routes.Route, given: bytes) -> tuple[dict[str, Any], bytes, content.Content]:
    if has_more_values(given, MAX_VALUES):
        raise Refusal(413, "request_too_large", f"The request has more than {MAX_VALUES} values.")
    body, raw = understood(route, given)
    return body, raw, content.found(body)


def understood(route: routes.Route, given: bytes) -> tuple[dict[str, Any], bytes]:
    """The body, and its bytes serialised again. So the provider reads exactly what was checked, however it treats
    duplicate names, escapes and numbers."""
    try:
        body = orjson.loads(given)
        raw = orjson.dumps(body)
    except orjson.JSONDecodeError:
        raise malformed("The request body is not plain JSON.") from None
    except orjson.JSONEncodeError:
        raise malformed("The request is nested too deep.") from None
    if not isinstance(body, dict):
        raise malformed("The request body is not a JSON object.")
    check_body(route.dialect, body)
    return body, raw


def check_models(body: dict[str, Any], grant: Grant, prices: Prices) -> None:
    """Allows the task's own models, and fallback models that cost no more. Raises Refusal for others."""
    if body.get("model") not in grant.models:
        raise forbidden("This task may not call this model.")
    for one in body.get("fallbacks", []):
        name = one.get("model")
        if name not in grant.models and not prices.no_dearer(grant.provider, name, body["model"]):
            raise forbidden("This task may not fall back to this model.")
