"""Answers model calls from recordings, without a provider."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentcontainer_local.gateway.cassettes import difference, names, secrets, shelf
from agentcontainer_local.gateway.cassettes.document import About, Answer, Cassette
from agentcontainer_local.gateway.cassettes.names import Named
from agentcontainer_local.gateway.cassettes.record import asked
from agentcontainer_local.gateway.cassettes.shelf import Damaged, Shelf
from agentcontainer_local.gateway.cassettes.told import PAUSES, Pace, told
from agentcontainer_local.gateway.cassettes.volatile import alike, masked_all
from agentcontainer_local.gateway.failure import Failed, unasked
from agentcontainer_local.gateway.upstream import Request, Response, Upstream
from agentcontainer_local.store.context import Context

log = logging.getLogger(__name__)

AGAIN = "Record it again with --record, or replay it with --replay-mode loose"
Seen = dict[str, Any]  # path, headers and body of a request


class Unanswered(Exception):
    """No recorded answer fits. The argument says why, and what to do."""


@dataclass
class Playing:
    """A task with its recording. `strict`: requests must match the recorded ones."""

    name: str
    cassette: Cassette
    requests: list[Seen]
    strict: bool
    left: list[int] = field(init=False)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.left = list(range(len(self.requests)))

    def answer(self, now: Seen, streams: bool, shelf: Shelf) -> Answer:
        """The recorded answer to this request. Slow: call it in a thread. Raises Unanswered."""
        with self._one_at_a_time:
            return self._answer(now, streams, shelf)

    def _answer(self, now: Seen, streams: bool, shelf: Shelf) -> Answer:
        if not self.left:
            calls = len(self.requests)
            raise Unanswered(
                f"The recording {self.name} has {calls} model calls, and the task makes one more. {AGAIN}."
            )
        at = self._same(now, shelf) if self.strict else self._next_like(now, streams)
        self.left.remove(at)
        return self.cassette.calls[at].answer

    def _same(self, now: Seen, shelf: Shelf) -> int:
        """The first unused call with the same request. So parallel calls may come in another order."""
        for at in self.left:
            if alike(self.requests[at], now, shelf.ignored):
                return at
        first = self.left[0]
        lines = difference.lines(*(masked_all(seen, shelf.ignored) for seen in (self.requests[first], now)))
        raise Unanswered(
            f"Model call {first + 1} differs from the recording {self.name} (-: recorded, +: now). {AGAIN}.\n"
            + "\n".join(lines).rstrip()
        )

    def _next_like(self, now: Seen, streams: bool) -> int:
        """The next unused call of the same API, because the agent could not read another API's answer."""
        for at in self.left:
            recorded = self.requests[at]
            if _api(recorded) == _api(now) and bool(recorded["body"].get("stream")) == streams:
                return at
        raise Unanswered(
            f"The recording {self.name} has no further call of {_api(now)}, streamed: {str(streams).lower()}; the next"
            f" one is {_api(self.requests[self.left[0]])}. Choose the provider and API that were recorded."
        )


def _api(seen: Seen) -> str:
    path: str = seen["path"]
    return path.partition("?")[0].removeprefix("/v1")


class Player:
    """`otherwise`: the upstream for tasks without a recording; None: their calls fail."""

    def __init__(self, context: Context, recordings: Shelf, otherwise: Upstream | None):
        self._context, self._shelf, self._otherwise = context, recordings, otherwise
        self._playing: dict[str, asyncio.Future[Playing | None]] = {}  # by task

    @contextlib.asynccontextmanager
    async def asked(self, request: Request) -> AsyncIterator[Response]:
        """The upstream function."""
        began, settings = self._context.now.steady(), self._context.settings
        answer = await self._answer(request)
        if answer is None:
            assert self._otherwise is not None
            async with self._otherwise(request) as response:
                yield response
            return
        fast = settings.replay_pace == "fast"
        pace = Pace(self._context.now, None if fast else began, settings.provider_idle_seconds)
        yield await told(_without_pauses(answer) if fast else answer, request.url, pace)

    async def _answer(self, request: Request) -> Answer | None:
        """The recorded answer; None for a task without a recording. Raises Failed."""
        task_id, hidden = request.grant.task_id, secrets.of(self._context.environ, request.grant)
        try:
            playing = await self._of(task_id, hidden)
            if playing is None:
                return None
            path, headers, body = asked(request, hidden)
            now, streams = {"path": path, "headers": headers, "body": body}, bool(request.document.get("stream"))
            return await asyncio.to_thread(playing.answer, now, streams, self._shelf)
        except (Unanswered, Damaged, names.BadName) as error:
            for line in str(error).splitlines():
                log.error("not replayed task=%s %s", task_id, line)
            raise Failed(unasked(str(error))) from None

    async def _of(self, task_id: str, hidden: secrets.Secrets) -> Playing | None:
        """The task's recording, which is chosen at its first call."""
        found = self._playing.get(task_id)
        if found is None:
            found = self._playing[task_id] = asyncio.ensure_future(self._opened(task_id, hidden))
        return await asyncio.shield(found)

    async def _opened(self, task_id: str, hidden: secrets.Secrets) -> Playing | None:
        named = names.of(self._context, task_id, hidden.hidden)
        backend, loose = self._context.settings.backend, self._context.settings.replay_mode == "loose"
        name = self._shelf.take(named) or (self._shelf.take_next(named) if loose else None)
        if name is None and self._otherwise is not None:
            return None
        if name is None:
            raise Unanswered(_missing(named, self._shelf))
        cassette, requests = await asyncio.to_thread(_read, self._shelf.folder / name)
        return Playing(name, cassette, requests, strict=not loose and cassette.task.backend == backend)


def _read(path: Path) -> tuple[Cassette, list[Seen]]:
    cassette = shelf.whole(path)
    told = zip(cassette.calls, shelf.requests(cassette), strict=True)
    return cassette, [{"path": call.request.path, "headers": call.request.headers, "body": body} for call, body in told]


def _missing(named: Named, shelf: Shelf) -> str:
    """The message for a task without a recording. It compares the most similar recording, in case the instructions have
    changed."""
    words = (
        f"There is no recording of this task: {named.file(1)} is not in {shelf.folder}. Record it with --record, or"
        f' name one in the task\'s metadata: {{"{names.FIELD}": "NAME"}}'
    )
    nearest = shelf.nearest(named)
    if nearest is None:
        return f"{words}."
    lines = difference.lines(_question(shelf.heads[nearest].task), _question(named.about))
    return "\n".join([f"{words}. The nearest one is {nearest} (-: recorded, +: now):", *lines])


def _question(about: About) -> Seen:
    return {"instructions": about.instructions, "message": about.message}


def _without_pauses(answer: Answer) -> Answer:
    """The answer without headers that ask for a pause, because the gateway would wait."""
    kept = {name: value for name, value in answer.headers.items() if name not in PAUSES}
    return answer.model_copy(update={"headers": kept})
