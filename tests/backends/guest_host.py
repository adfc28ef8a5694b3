"""The host's side of the guest contract for one task, small: it prompts, plays the model, and keeps what it is told."""

import asyncio
import contextlib
import json
from collections import deque
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agentcontainer_local.gateway.scripted import wire
from agentcontainer_local.pi import launch as pi
from agentcontainer_local.sandbox.backend import Guest
from agentcontainer_local.store.tasks import Execution

MODEL = "claude-of-the-suite"
HEARD_SECONDS = 60  # for what a guest does in one or two


class GuestHost:
    """Its model calls bash with each of `commands`, one after another, and then has nothing more to do.

    One object is a task's host for all of its runs, as the store's rows are. `seen` counts requests of any kind.
    """

    def __init__(self, *commands: str):
        self.commands = deque(commands)
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []  # of the model
        self.launches = 0
        self.seen = 0
        self._acknowledged = 0
        self._changed = asyncio.Event()
        routes = [
            Route("/guest/commands", self._commands),
            Route("/guest/events", self._events, methods=["POST"]),
            Route("/{provider}/v1/messages", self._model, methods=["POST"]),
        ]
        self._app = Starlette(routes=routes)

    @property
    def guest(self) -> Guest:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self.seen += 1
            with contextlib.suppress(asyncio.CancelledError):  # the run is let go: nobody is there to be answered
                await self._app(scope, receive, send)

        return Guest(app, None)

    def launch(self, image_env) -> bytes:
        """launch.json of a task whose model is this host."""
        assert hasattr(image_env, "items")
        self.launches += 1
        task = {"id": "suite", "mode": "autonomous", "instructions": "Work.", "allowed_hosts": "[]"}
        execution = Execution("anthropic", MODEL, None, "", None)
        return json.dumps(pi.launch(task, execution, "You are a test.", "", {}, [], dict(image_env))).encode()

    def next_run(self) -> None:
        """The numbers of a run's events begin at 1."""
        self._acknowledged = 0

    def do(self, *commands: str) -> None:
        """After what there is to do already."""
        self.commands.extend(commands)
        self._changed.set()

    def outputs(self) -> list[str]:
        return [event["output"] for event in self.events if event["type"] == "tool_ended"]

    async def heard(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of that type, waited for."""
        async with asyncio.timeout(HEARD_SECONDS):
            while len(found := [event for event in self.events if event["type"] == kind]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found[count - 1]

    async def printed(self, count: int) -> str:
        """What the `count`-th command printed."""
        return (await self.heard("tool_ended", count))["output"].strip()

    async def _commands(self, request: Request) -> StreamingResponse:
        async def lines():
            prompt = {"type": "prompt", "id": "p1", "message": "Work.", "resume": "Go on.", "inputs": []}
            yield json.dumps(prompt).encode() + b"\n"
            await asyncio.get_running_loop().create_future()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _events(self, request: Request) -> JSONResponse:
        for line in (await request.body()).splitlines():
            numbered = json.loads(line)
            if (number := numbered.get("seq")) is not None and number > self._acknowledged:
                self._acknowledged = number
                self.events.append(numbered["event"])
        self._changed.set()
        return JSONResponse({"ack": self._acknowledged})

    async def _model(self, request: Request) -> StreamingResponse:
        self.asked.append(await request.json())
        self._changed.set()
        number = len(self.asked)
        command = self.commands.popleft() if self.commands else None
        calls = (wire.ToolCall(f"call_{number}", "bash", {"command": command}),) if command else ()
        answer = wire.Answer(str(number), MODEL, "" if calls else "Nothing more.", calls, 10, 10)
        return StreamingResponse(wire.stream("messages", answer), media_type="text/event-stream")
