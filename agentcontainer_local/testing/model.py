"""The far end of every model call: it answers as the task's script says, in the provider's own format."""

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentcontainer_local.gateway import scripted, upstream
from agentcontainer_local.gateway.scripted import wire
from agentcontainer_local.testing.depths import Depth
from agentcontainer_local.testing.moves import Call, Move, moves
from agentcontainer_local.testing.scripts import Script, Scripts, Task

CALL_ID = "call_testing_{turn}_{move}_{digest}"
CALL_IDS = re.compile(rb"call_testing_(\d+)_(\d+)_")
CHARACTERS_A_TOKEN = 4
FIRST_PIECES = 4


@dataclass
class Asked:
    """What the model is asked: the next move of a turn. `turn`: from 1; 0 of an autonomous task."""

    task: Task
    turn: int
    conversation: bool


@dataclass
class Played:
    """What the calls of one task have come to. `at`: how many moves of the turn an earlier history had shown."""

    turn: int = -1
    at: int = 0
    refused: str | None = None  # why the host refused the last call


@dataclass
class Model:
    """`ask`: what a task's next call is about. `sleep`: by the server's clock."""

    scripts: Scripts
    depth: Depth
    ask: Callable[[str], Asked]
    sleep: Callable[[float], Awaitable[None]]
    shown: dict[str, Call] = field(default_factory=dict)  # by the call's id, where the history shows another call
    _played: dict[str, Played] = field(default_factory=dict)

    def refused(self, task_id: str, why: str) -> None:
        """The host did not accept what the task's agent asked for."""
        self._played.setdefault(task_id, Played()).refused = why

    @contextlib.asynccontextmanager
    async def answer(self, request: upstream.Request) -> AsyncIterator[upstream.Response]:
        """Answers a request in place of its provider."""
        yield _Response(*await self._answered(request))

    async def _answered(self, request: upstream.Request) -> tuple[int, list[bytes], str]:
        asked, route = self.ask(request.grant.task_id), request.route
        script = self.scripts.of(asked.task)
        if route.dialect == "count":
            return _document(200, {"input_tokens": _tokens(request.body)})
        if script is None or not request.document.get("tools"):
            return _said(
                request, scripted.answered(request.grant.conversation, route.dialect, request.document, request.body)
            )
        try:
            move, at = self._next(script, asked, request)
        except _Unfit as words:
            self.scripts.problem(str(words))
            return _refusal(str(words))
        await self.sleep(move.wait_seconds)
        if move.error is not None:
            return _refusal(move.error)
        return _said(request, self._answer(move, at, asked, request))

    def _next(self, script: Script, asked: Asked, request: upstream.Request) -> tuple[Move, int]:
        """The first move that the history does not show. Raises _Unfit."""
        index = 0 if script.every else max(asked.turn - 1, 0)
        if not asked.conversation and len(script.turns) > 1:
            raise _Unfit(f'script "{script.name}" has turns, and the task is autonomous. Give steps without a list.')
        if index >= len(script.turns):
            number = len(script.turns)
            count = f"{number} turn{'s' if number > 1 else ''}"
            raise _Unfit(f'script "{script.name}" has {count}, and the conversation goes on. Add a turn.')
        todo = moves(script.turns[index], asked.conversation)
        at = self._position(asked, request)
        played = self._played[asked.task.id]
        if (why := played.refused) is not None:
            played.refused = None
            if 0 < at <= len(todo) and todo[at - 1].asks:
                raise _Unfit(f"{script.where(todo[at - 1].step, index)} was refused. {why}")
        if at >= len(todo):
            raise _Unfit(f'script "{script.name}" is over, and the agent goes on. Add steps.')
        move = todo[at]
        if move.call is not None and move.call.tool not in (*_tools(request.document), "write"):
            raise _Unfit(f"{script.where(move.step, index)} is not possible: {_why_not(move.call.tool)}")
        return move, at

    def _position(self, asked: Asked, request: upstream.Request) -> int:
        """How many moves of this turn the history shows; a history that was shortened shows fewer than before."""
        played = self._played.setdefault(asked.task.id, Played())
        if played.turn != asked.turn:
            played.turn, played.at = asked.turn, 0
        seen = [int(move) for turn, move in CALL_IDS.findall(request.body) if int(turn) == asked.turn]
        played.at = max([played.at, *(move + 1 for move in seen)])
        return played.at

    def _answer(self, move: Move, at: int, asked: Asked, request: upstream.Request) -> wire.Answer:
        digest = hashlib.sha256(request.body).hexdigest()[:12]
        calls: tuple[wire.ToolCall, ...] = ()
        if (call := move.call) is not None:
            id = CALL_ID.format(turn=asked.turn, move=at, digest=digest)
            tool, given = call.tool, call.given
            if call.prints is not None or call.writes is not None:
                tool, given = "bash", {"command": self.depth.command(asked.task.id, call)}
                self.shown[id] = call
            calls = (wire.ToolCall(id, tool, given),)
        said = move.text + (json.dumps(move.call.given) if move.call else "")
        return wire.Answer(
            id=f"testing_{digest}",
            model=str(request.document["model"]),
            text=move.text,
            calls=calls,
            input_tokens=_tokens(request.body),
            output_tokens=_tokens(said),
        )


class _Unfit(Exception):
    """The script does not fit the task."""


def _tools(document: Mapping[str, Any]) -> Iterable[str]:
    """The names of the tools that the agent has."""
    for one in document.get("tools") or ():
        yield str(one.get("name") or (one.get("function") or {}).get("name"))


def _why_not(tool: str) -> str:
    whose = {"attach": "only the agent of a conversation can attach", "hibernate": "only an autonomous agent can"}
    return f"{whose.get(tool, f'the agent has no tool {tool}')}."


def _tokens(text: str | bytes) -> int:
    return -(-len(text) // CHARACTERS_A_TOKEN)


def _refusal(words: str) -> tuple[int, list[bytes], str]:
    return _document(400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}})


def _document(status: int, document: object) -> tuple[int, list[bytes], str]:
    return status, [json.dumps(document).encode()], "application/json"


def _said(request: upstream.Request, answer: wire.Answer) -> tuple[int, list[bytes], str]:
    dialect = request.route.dialect
    if request.document.get("stream"):
        return 200, _pieces(list(wire.stream(dialect, answer)), words=bool(answer.text)), "text/event-stream"
    return _document(200, wire.whole(dialect, answer))


def _pieces(events: list[bytes], words: bool) -> list[bytes]:
    """One for each event, so that words come one after another. Without words, most events come at once: nobody sees
    the arguments of a call before they are whole."""
    if words or len(events) <= FIRST_PIECES:
        return events
    return [*events[:FIRST_PIECES], b"".join(events[FIRST_PIECES:])]


class _Response:
    """An answer that is there at once."""

    def __init__(self, status: int, pieces: list[bytes], content_type: str):
        self.status, self.content_type = status, content_type
        self.reason = {200: "OK", 400: "Bad Request"}[status]
        self.headers = {"content-type": content_type}
        self.raw_headers = ((b"content-type", content_type.encode()),)
        self.content = _Content(pieces)


class _Content:
    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)
            await asyncio.sleep(0)

    async def read(self, n: int = -1) -> bytes:
        """All of it."""
        whole, self._pieces = b"".join(self._pieces), []
        return whole
