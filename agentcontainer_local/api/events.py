"""What happens in a task: its events, as pages and as a live stream, its messages and its activities."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from agentcontainer_local import history, lifecycle, messages, schemas, tasks
from agentcontainer_local.api.http import Call, Route
from agentcontainer_local.api.pages import Cut, page
from agentcontainer_local.db import Row
from agentcontainer_local.errors import Invalid, NotFound
from agentcontainer_local.host import Host

HEARTBEAT_SECONDS = 15
BATCH_CHARACTERS = 64 * 1024        # of events at once, and one event more
RECONNECT = b"retry: 1000\n\n"      # milliseconds, for a browser's EventSource
EVENT_ID = re.compile("[0-9]{1,19}")
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def task_of(call: Call) -> Row:
    return tasks.owned(call.host.db, call.account["id"], call.param("taskId"))


def list_events(call: Call) -> Response:
    """Everything that happened, each with a number that only grows.

    With `stream=true` as server-sent events, those to come too: stored ones carry their number as `id:`, and a stream
    resumes behind `?after=` or `Last-Event-ID` without loss or repetition. The stream ends with the task.

    Two events are live only, without `id:`. `message.delta` has the words of an answer as they come. `activity.output`
    has the last 4 kB that a running command has printed, up to ten times a second: each takes the place of the one
    before. The whole output of a command comes with its `activity.completed`.
    """
    task, query = task_of(call), call.query
    if query.stream:
        after = _resumed_after(call)
        told = _stream(call.host, task["id"], after) if call.request.method == "GET" else ()      # not to a HEAD
        return StreamingResponse(told, media_type="text/event-stream", headers=HEADERS)
    cut = call.cut
    if query.after is not None:
        cut = Cut(cut.limit, max(query.after, cut.after) if query.cursor else query.after, True)
    found = history.page(call.host.db, task["id"], **cut.asked)
    answered = page(schemas.ListTaskEventsResponse, cut, found, history.shape)
    return Response(answered.model_dump_json(by_alias=True), media_type="application/json")


def _resumed_after(call: Call) -> int:
    said = call.request.headers.get("last-event-id")
    if said is None:
        return call.query.after or 0
    if not EVENT_ID.fullmatch(said) or int(said) > schemas.MAX_BYTES:
        raise Invalid.field("Last-Event-ID", "is not the id of an event")
    return int(said)


async def _stream(host: Host, task_id: str, after: int) -> AsyncIterator[bytes]:
    """Only what one write takes is in memory, however slow the reader: the rest waits in the store."""
    yield RECONNECT
    shown: dict[str, str] = {}
    with host.live.listening(task_id) as live:
        while True:
            changed = host.changed.mark(task_id)
            events = True
            while events:
                # Both are taken before one is given away: words never come behind the message that they are of.
                text, events = live.take(), history.some(host.db, task_id, after, BATCH_CHARACTERS)
                if text:
                    yield _written("message.delta", {"text": text})
                if events:
                    after = events[-1]["number"]
                    yield b"".join(map(_stored, events))
            printed = messages.printed(host.db, task_id)
            for tool in printed:
                if shown.get(tool["id"]) != tool["output"]:
                    yield _written("activity.output", _output(tool))
            shown = {tool["id"]: tool["output"] for tool in printed}
            if tasks.get(host.db, task_id)["status"] in lifecycle.TERMINAL:
                return
            _, waiting = await asyncio.wait({changed}, timeout=HEARTBEAT_SECONDS)
            if waiting:
                yield b": still here\n\n"


def _output(tool: Row) -> dict:
    return {"id": tool["id"], "callId": tool["call_id"], "toolKey": tool["tool_key"], "text": tool["output"]}


def _stored(event: Row) -> bytes:
    return f"id: {event['number']}\nevent: {event['type']}\ndata: {event['data']}\n\n".encode()


def _written(event: str, data: dict) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def list_messages(call: Call) -> schemas.ListMessagesResponse:
    """The transcript."""
    task, host = task_of(call), call.host
    found = messages.page(host.db, task["id"], **call.cut.asked)
    return page(schemas.ListMessagesResponse, call.cut, found, lambda row: tasks.message_shape(host.db, row))


def list_activities(call: Call) -> schemas.ListActivitiesResponse:
    """Which tools the agent used, without what they answered."""
    task, query = task_of(call), call.query
    turns = query.from_turn or 0, query.to_turn if query.to_turn is not None else schemas.MAX_BYTES
    found = messages.activities(call.host.db, task["id"], *turns, **call.cut.asked)
    return page(schemas.ListActivitiesResponse, call.cut, found, messages.activity_shape)


CONTENT = {
    "application/json": {"schema": {"$ref": "#/components/schemas/ListTaskEventsResponse"}},
    "text/event-stream": {"schema": {"type": "string"}, "example":
        'id: 7\nevent: task.updated\ndata: {"event":"started","from":"pending","status":"running"}\n\n'},
}


def routes(prefix: str, tag: str) -> list[Route]:
    """The same three lists, below a task and below a conversation."""
    return [
        Route("GET", f"{prefix}/events", list_events, "List or stream events", tag, schemas.ListTaskEventsResponse,
              query=schemas.EventQuery, key_in_query=True, raw=True, content=CONTENT, errors=(NotFound,)),
        Route("GET", f"{prefix}/messages", list_messages, "List messages", tag, schemas.ListMessagesResponse,
              query=schemas.PageQuery, errors=(NotFound,)),
        Route("GET", f"{prefix}/activities", list_activities, "List activities", tag, schemas.ListActivitiesResponse,
              query=schemas.ActivityQuery, errors=(NotFound,)),
    ]


ROUTES = routes("/tasks/{taskId}", "Tasks")
