"""The endpoints for the guest of a waiting slot. It can reach nothing else until it is bound, once, to a task's run."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

WAITS = (b"agentcontainer-waiting", b"1")  # a header that a guest sends as long as it has no task
COMMANDS = "/guest/commands"
HEARTBEAT_SECONDS = 15
MAX_BODY_BYTES = 64 * 1024


class Door:
    """An ASGI app. Its command stream sends the guest the task's launch document and ends. Then the guest opens the
    command stream of its run.

    A guest that did not get its task because its server ended asks the next server for it.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()  # set when Pi is running
        self._launch: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._run: ASGIApp | None = None
        routes = [Route(COMMANDS, self._commands), Route("/guest/events", self._events, methods=["POST"])]
        self._own = Starlette(routes=routes)

    def bind(self, run: ASGIApp, launch: bytes) -> None:
        self._run = run
        self._launch.set_result(launch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        waits = scope.get("path") == COMMANDS and WAITS in scope["headers"]
        app = self._own if waits or self._run is None else self._run
        with contextlib.suppress(asyncio.CancelledError):  # the socket closes, so there is nobody to answer
            await app(scope, receive, send)

    async def _commands(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self._lines(), media_type="application/x-ndjson")

    async def _lines(self) -> AsyncIterator[bytes]:
        while not self._launch.done():
            yield b"\n"
            await asyncio.wait({self._launch}, timeout=HEARTBEAT_SECONDS)
        given = {"type": "launch", "id": "launch", "launch": json.loads(self._launch.result())}
        yield json.dumps(given).encode() + b"\n"

    async def _events(self, request: Request) -> JSONResponse:
        """Acknowledges the events and drops them: there is no task yet."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return JSONResponse({}, 413)
        events = [json.loads(line) for line in body.splitlines()]
        if any(one["event"]["type"] == "ready" for one in events):
            self.ready.set()
        return JSONResponse({"ack": max((one.get("seq") or 0 for one in events), default=0)})


def bound(run: ASGIApp, launch: bytes) -> Door:
    """The app for an adopted run, whose guest may still wait for its task."""
    door = Door()
    door.bind(run, launch)
    return door
