"""The host's side of the guest contract, small: a door that can go away and come back, with a model behind it."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from .wire import Call, Say, stream


@dataclass
class Delivery:
    """What one POST to /guest/outputs began."""

    begun: dict[str, Any]
    files: dict[int, bytes] = field(default_factory=dict)
    committed: bool = False


@dataclass(frozen=True)
class Asked:
    """One request to the model."""

    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]


class Door:
    """All that the guest sent is kept across `close` and `open`, as rows would be; deliveries are not."""

    def __init__(self, run_dir: Path) -> None:
        self.socket = run_dir / "host.sock"
        self.commands: list[dict[str, Any]] = []
        self.inputs: dict[str, bytes] = {}
        self.stored: dict[int, dict[str, Any]] = {}
        self.received: Counter[int] = Counter()
        self.deltas: list[str] = []
        self.outputs: list[str] = []
        self.boots: set[str] = set()
        self.answers: list[Say | Call] = []
        self.asked: list[Asked] = []
        self.deliveries: dict[str, Delivery] = {}
        self.accepted: list[Delivery] = []
        self.naps: list[dict[str, Any]] = []
        self.over = False
        self.storing = asyncio.Event()
        self.storing.set()
        self.lose_acks = 0
        self.lose_commits = 0
        self.refuse: Callable[[str, dict[str, Any]], tuple[int, str] | None] = lambda what, body: None
        self.unacceptable: Callable[[dict[str, Any]], bool] = lambda event: False
        self.gaps = False
        self.refuse_model: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda body: None
        self.before_answer: Callable[[web.Request], Any] | None = None
        self._runner: web.AppRunner | None = None
        self._changed = asyncio.Event()

    async def open(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/guest/commands", self._commands),
                web.post("/guest/events", self._events),
                web.get("/guest/inputs/{name}", self._input),
                web.post("/guest/outputs", self._begin),
                web.put("/guest/outputs/{id}/{index}", self._put),
                web.post("/guest/outputs/{id}", self._commit),
                web.post("/guest/hibernate", self._hibernate),
                web.post("/{provider:anthropic|openai|openrouter}/{rest:.*}", self._model),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()
        self.socket.chmod(0o666)

    async def close(self) -> None:
        """Gone as with kill -9: connections cut, socket removed, deliveries forgotten."""
        if self._runner:
            for transport in [t for t in map(_transport, self._runner.server.connections) if t]:
                transport.abort()
            await self._runner.cleanup()
            self._runner = None
        self.socket.unlink(missing_ok=True)
        self.deliveries.clear()

    async def next_life(self) -> None:
        """The host knows that the container is gone: its next one is a new run, whose events begin at 1."""
        await self.close()
        self.stored.clear()
        await self.open()

    def send(self, **command: Any) -> None:
        self.commands.append(command)
        self._changed.set()

    def prompt(self, message: str, id: str = "turn-1", resume: str | None = None, inputs: tuple = ()) -> None:
        self.send(type="prompt", id=id, message=message, resume=resume, inputs=list(inputs))

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        events = [self.stored[seq]["event"] for seq in sorted(self.stored)]
        return [event for event in events if kind in (None, event["type"])]

    async def heard(self, kind: str, count: int = 1, within: float = 20) -> dict[str, Any]:
        """The `count`-th event of that type, waited for."""
        try:
            async with asyncio.timeout(within):
                while len(self.events(kind)) < count:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"no {kind} (number {count}) in {self.events()}") from None
        return self.events(kind)[count - 1]

    async def _commands(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b"\n")
        sent = 0
        with contextlib.suppress(ConnectionResetError):
            while True:
                self._changed.clear()
                for command in self.commands[sent:]:
                    await response.write(json.dumps(command, ensure_ascii=False).encode() + b"\n")
                sent = len(self.commands)
                await self._changed.wait()
        return response

    async def _events(self, request: web.Request) -> web.Response:
        if self.over:
            return _error(409, "this run is over")
        self.boots.add(request.headers["agentcontainer-boot"])
        lines = (await request.read()).split(b"\n")
        assert sum(map(len, lines)) <= (1 << 20) + 400_000
        await self.storing.wait()
        entries = [json.loads(line) for line in lines if line]
        if any(self.unacceptable(entry["event"]) for entry in entries):
            return _error(422, "not an event")
        for entry in entries:
            assert isinstance(entry["at"], int)
            if entry.get("seq") is None:
                live = self.outputs if entry["event"]["type"] == "tool_output" else self.deltas
                live.append(entry["event"]["text"])
            else:
                self.received[entry["seq"]] += 1
                self.stored.setdefault(entry["seq"], entry)
        if self.lose_acks:
            self.lose_acks -= 1
            request.transport.abort()
        ack = max(self.stored, default=0)
        assert self.gaps or set(self.stored) == set(range(1, ack + 1)), "an event was left out"
        return web.json_response({"ack": ack})

    async def _input(self, request: web.Request) -> web.Response:
        body = self.inputs.get(request.match_info["name"])
        return _error(404, "no such input") if body is None else web.Response(body=body)

    async def _begin(self, request: web.Request) -> web.Response:
        body = await request.json()
        if refusal := self.refuse("begin", body):
            return _error(*refusal)
        id = f"out_{len(self.deliveries) + 1}"
        self.deliveries[id] = Delivery(body)
        return web.json_response({"id": id})

    async def _put(self, request: web.Request) -> web.Response:
        delivery = self.deliveries.get(request.match_info["id"])
        body = await request.read()
        if self.before_answer:
            await self.before_answer(request)
        if delivery is None:
            return _error(404, "no such delivery")
        delivery.files[int(request.match_info["index"])] = body
        return web.json_response({})

    async def _commit(self, request: web.Request) -> web.Response:
        delivery = self.deliveries.get(request.match_info["id"])
        if delivery is None:
            return _error(404, "no such delivery")
        if refusal := self.refuse("commit", delivery.begun):
            return _error(*refusal)
        for index, declared in enumerate(delivery.begun["files"]):
            assert len(delivery.files[index]) == declared["sizeBytes"]
        if not delivery.committed:
            delivery.committed = True
            self.accepted.append(delivery)
        if self.lose_commits:
            self.lose_commits -= 1
            request.transport.abort()
        return web.json_response({})

    async def _hibernate(self, request: web.Request) -> web.Response:
        body = await request.json()
        if refusal := self.refuse("hibernate", body):
            return _error(*refusal)
        self.naps.append(body)
        return web.json_response({})

    async def _model(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(Asked(request.path, request.query_string, dict(request.headers), body))
        if self.before_answer:
            await self.before_answer(request)
        if refusal := self.refuse_model(body):
            return _error(*refusal)
        answer = self.answers.pop(0) if self.answers else Say("nothing more")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in stream(request.path, answer, len(self.asked), body["model"]):
            await response.write(part)
        return response


def _transport(connection: Any) -> asyncio.Transport | None:
    return connection.transport


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"code": "no", "message": message}}, status=status)
