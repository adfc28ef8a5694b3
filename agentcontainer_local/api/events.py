"""What happens in a task: its events, as pages and as a live stream, its messages and its activities."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response, StreamingResponse

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import Invalid, NotFound
from agentcontainer_local.http.pagination import Cut, page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.store import events as history
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Row
from agentcontainer_local.store.rows import Task

HEARTBEAT_SECONDS = 15
CALL_SECONDS = 1
# Neither is a block of its own: some readers make an event without data of each blank line.
RECONNECT = b"retry: 1000\n"  # milliseconds, for a browser's EventSource
HEARTBEAT = b": still here\n"
EVENT_ID = re.compile("[0-9]{1,19}")
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def task_of(call: Call) -> Task:
    return tasks.owned(call.host.db, call.account["id"], call.param("taskId"))


def list_events(call: Call) -> Response:
    """Lists what happened, each event with a number that only grows.

    With `stream=true` the answer is a stream of server-sent events, which goes on with what happens next. A stored
    event carries its number as `id:`, and a stream that is given that number as `Last-Event-ID` or `?after=` goes on
    behind it, without loss or repetition. The stream ends with the task. Read it to its end: up to two events may
    follow the `task.updated` that says `finished`. When the task has ended and nothing is left to be sent, the answer
    is 204, so that a browser's EventSource stops.

    Three events are live only, without `id:`. `message.delta` has the words of an answer as they come. `model.call`
    says each second that the model is waited for, and how much of its answer has come. `activity.output`
    has the last 4 kB that a running command has printed, up to ten times a second: each takes the place of the one
    before. `activity.completed` has the last 4 kB of the whole output.
    """
    task, query = task_of(call), call.query
    if query.stream:
        after = _resumed_after(call)
        if task["status"] in lifecycle.TERMINAL and not history.some(call.host.db, task["id"], after, 1):
            return Response(status_code=204)
        told: AsyncIterator[bytes] | tuple[()] = ()  # to a HEAD
        if call.request.method == "GET":
            told = _stream(call.host, task["id"], after, call.is_still_allowed)
        return StreamingResponse(told, media_type="text/event-stream", headers=HEADERS)
    cut = call.cut
    if query.after is not None:
        cut = Cut(cut.limit, max(query.after, cut.after) if query.cursor else query.after, True)
    found = history.page(call.host.db, task["id"], **cut.asked)
    answered = page(schemas.ListTaskEventsResponse, cut, found, history.shape)
    return Response(answered.model_dump_json(by_alias=True), media_type="application/json")


def _resumed_after(call: Call) -> int:
    said = call.request.headers.get("last-event-id")
    if not said:
        return call.query.after or 0
    if not EVENT_ID.fullmatch(said) or int(said) > schemas.MAX_INTEGER:
        raise Invalid.field("Last-Event-ID", "must be the id of an event")
    return int(said)


async def _stream(
    host: Host, task_id: str, after: int, is_allowed: Callable[[], bool] = lambda: True
) -> AsyncIterator[bytes]:
    """Only what one write takes is in memory, however slow the reader: the rest waits in the store."""
    first, told_at = RECONNECT, 0.0
    shown: dict[str, str] = {}
    calling: dict[str, Any] | None = None
    with host.live.listening(task_id) as live:
        while True:
            changed, revoked, called = host.changed.mark(task_id), host.revoked.mark(), host.called.mark()
            more = True
            while more:
                if not is_allowed():
                    return
                # All are taken before one is given away: words never come behind the message that they are of, and
                # nothing has happened between the last events and the task's end.
                text, batch, moment = live.take(), host.streams.batch(task_id, after), host.streams.moment(task_id)
                if text:
                    yield first + _live("message.delta", {"text": text})
                    first = b""
                more = batch.last > after
                if more:
                    after = batch.last
                    yield first + batch.text
                    first = b""
            for tool in moment.printed:
                if shown.get(tool["id"]) != tool["output"]:
                    yield first + _live("activity.output", _output(tool))
                    first = b""
            shown = {tool["id"]: tool["output"] for tool in moment.printed}
            call, now = _calling(host, task_id, calling), host.steady()
            due = call != calling and (now - told_at >= CALL_SECONDS or not calling)
            if call is not None and (due or (calling and call["state"] != calling["state"])):
                yield first + _live("model.call", call)
                first, calling, told_at = b"", call, now
            if moment.ended:
                return
            patience = CALL_SECONDS if task_id in host.calling else HEARTBEAT_SECONDS
            heard, _ = await asyncio.wait(
                {changed, revoked, called}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not heard and patience == HEARTBEAT_SECONDS:
                yield HEARTBEAT


def _calling(host: Host, task_id: str, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """How far the task's model call has come, if it takes long enough for anybody to wonder; and then its end."""
    progress = host.calling.get(task_id)
    if progress is None:
        return before and {**before, "state": "ended"}
    going_on = before is not None and before["state"] != "ended"
    return progress.facts() if going_on or progress.seconds() >= CALL_SECONDS else before


def _output(tool: Row) -> dict[str, Any]:
    return {"id": tool["id"], "callId": tool["call_id"], "toolKey": tool["tool_key"], "text": tool["output"]}


def _live(event: str, data: dict[str, Any]) -> bytes:
    return f"event: {event}\ndata: {json.dumps({'type': event, **data}, ensure_ascii=False)}\n\n".encode()


def list_messages(call: Call) -> schemas.ListMessagesResponse:
    """The transcript."""
    task, host = task_of(call), call.host
    found = transcript.page(host.db, task["id"], **call.cut.asked)
    return page(schemas.ListMessagesResponse, call.cut, found, lambda row: tasks.message_shape(host.db, row))


def list_activities(call: Call) -> schemas.ListActivitiesResponse:
    """Which tools the agent used, without what they answered."""
    task, query = task_of(call), call.query
    turns = query.from_turn or 0, query.to_turn if query.to_turn is not None else schemas.MAX_INTEGER
    found = transcript.activities(call.host.db, task["id"], *turns, **call.cut.asked)
    return page(schemas.ListActivitiesResponse, call.cut, found, transcript.activity_shape)


CONTENT = {
    "application/json": {"schema": {"$ref": "#/components/schemas/ListTaskEventsResponse"}},
    "text/event-stream": {
        "schema": {"type": "string", "description": "Each `data:` is a TaskEventData, its `event:` a TaskEventName."},
        "example": "retry: 1000\nid: 7\nevent: task.updated\n"
        'data: {"type":"task.updated","event":"started","from":"pending","status":"running"}\n\n',
    },
}
AFTER = {"Last-Event-ID": "With `stream=true`: only events after this one. Browsers send it when they reconnect."}
ALSO = {"204": {"description": "With `stream=true`: the task has ended and no events remain"}}


def routes(prefix: str, tag: str, extension: bool = False) -> list[Route]:
    """The same three lists, below a task and below a conversation."""
    return [
        Route(
            "GET",
            f"{prefix}/events",
            list_events,
            "List or stream events",
            tag,
            schemas.ListTaskEventsResponse,
            query=schemas.EventQuery,
            key_in_query=True,
            raw=True,
            content=CONTENT,
            headers=AFTER,
            also=ALSO,
            errors=(NotFound,),
            extension=extension,
            extension_without="stream",
        ),
        Route(
            "GET",
            f"{prefix}/messages",
            list_messages,
            "List messages",
            tag,
            schemas.ListMessagesResponse,
            query=schemas.TranscriptQuery,
            errors=(NotFound,),
            extension=extension,
        ),
        Route(
            "GET",
            f"{prefix}/activities",
            list_activities,
            "List activities",
            tag,
            schemas.ListActivitiesResponse,
            query=schemas.ActivityQuery,
            errors=(NotFound,),
            extension=extension,
        ),
    ]


ROUTES = routes("/tasks/{taskId}", "Tasks", extension=True)
