"""A call to the scripted model."""

import hashlib
import json
from decimal import Decimal
from typing import Any

from starlette.types import Send

from agentcontainer_local.gateway.admission import Call
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.provider_session import Client
from agentcontainer_local.gateway.refusal import forbidden, respond
from agentcontainer_local.gateway.routes import Dialect
from agentcontainer_local.gateway.scripted import wire
from agentcontainer_local.gateway.scripted.decide import Next, decide, summary
from agentcontainer_local.gateway.scripted.history import CALL_ID, Said, User, read
from agentcontainer_local.store.tasks import Refused, Usage, Worst

CHARACTERS_A_TOKEN = 4
FREE = Decimal(0)
EVENT_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


async def play(grant: Grant, client: Client, call: Call, send: Send) -> None:
    """Answers the call. The same request always gets the same answer, including ids and usage."""
    if call.route.dialect == "count":
        await respond(send, 200, json.dumps({"input_tokens": _tokens(len(call.raw))}).encode())
        return
    answer = await client.aside(
        grant.known, len(call.raw), answered, grant.conversation, call.route.dialect, call.body, call.raw
    )
    usage = _usage(grant, answer)
    free = Worst(grant.provider, answer.model, usage.input_tokens, usage.output_tokens, FREE, FREE, exact=True)
    try:
        grant.settle(await grant.reserve(free), usage)
    except Refused as reason:
        raise forbidden(str(reason)) from None
    if call.body.get("stream"):
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        for event in wire.stream(call.route.dialect, answer, _asks_usage(call)):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await respond(send, 200, json.dumps(wire.whole(call.route.dialect, answer)).encode())


def answered(conversation: bool, dialect: Dialect, body: dict[str, Any], raw: bytes) -> wire.Answer:
    """The answer to a request. `body`: its JSON; `raw`: its bytes."""
    items = read(dialect, body)
    if body.get("tools"):
        step = decide(items, conversation)
    else:  # Pi offers no tools when it asks for a summary
        asked = [item.text for item in items if isinstance(item, User)]
        step = Next(summary(asked[-1] if asked else "", conversation))
    digest = hashlib.sha256(raw).hexdigest()[:12]
    number = sum(item.calls for item in items if isinstance(item, Said)) + 1
    arguments = {} if step.command is None else {"command": step.command}
    calls = (wire.ToolCall(f"{CALL_ID}{number}_{digest}", "bash", arguments),) if arguments else ()
    return wire.Answer(
        id=f"scripted_{digest}",
        model=body["model"],
        text=step.text,
        calls=calls,
        input_tokens=_tokens(len(raw)),
        output_tokens=_tokens(len(step.text) + (len(json.dumps(arguments)) if arguments else 0)),
    )


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_A_TOKEN)


def _asks_usage(call: Call) -> bool:
    options = call.body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _usage(grant: Grant, answer: wire.Answer) -> Usage:
    return Usage(
        provider=grant.provider,
        model=answer.model,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cost_microusd=0,
        status=200,
        complete=True,
    )
