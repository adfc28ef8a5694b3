"""What is different at the door of a run: the history shows the calls of a script, and their files can be fetched."""

import json
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.testing.depths import FILES, Real
from agentcontainer_local.testing.model import Model

EVENTS = "/guest/events"
ASKED = ("/guest/outputs", "/guest/hibernate")  # what the host may refuse
MARK = b"call_testing_"


def around(app: ASGIApp, model: Model) -> ASGIApp:
    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == EVENTS:
            await app(scope, _shown(receive, model), send)
        elif path.startswith(ASKED):
            await app(scope, receive, _hearing_refusals(send, scope["door"].task_id, model))
        elif path.startswith(FILES) and isinstance(model.depth, Real):
            content = model.depth.content(path)
            await Response(content, 404 if content is None else 200)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return guarded


def _shown(receive: Receive, model: Model) -> Receive:
    """The events as one message, with the calls that the script has."""

    async def received() -> Message:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            if not message.get("more_body"):
                return {**message, "body": _rewritten(body, model)}

    return received


def _rewritten(body: bytes, model: Model) -> bytes:
    if MARK not in body:
        return body
    return b"\n".join(_rewritten_line(line, model) if MARK in line else line for line in body.split(b"\n"))


def _rewritten_line(line: bytes, model: Model) -> bytes:
    try:
        document: dict[str, Any] = json.loads(line)
        event = document["event"]
        call = model.shown.get(event["callId"].split("|")[0]) if event["type"] == "tool_started" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return line  # the host says what is wrong with it
    if call is None:
        return line
    event |= {"tool": call.tool, "input": call.given}
    return json.dumps(document).encode()


def _hearing_refusals(send: Send, task_id: str, model: Model) -> Send:
    refused = False

    async def sent(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start":
            refused = 400 <= message["status"] < 500 and message["status"] != 404
        elif refused and message.get("body"):
            model.refused(task_id, _message(message["body"]))
        await send(message)

    return sent


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
