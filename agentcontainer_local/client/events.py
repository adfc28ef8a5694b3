"""What happens in a task, as it happens; and waiting for its end."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.client import requests
from agentcontainer_local.client.effects import Emit, Open, Pause, Program, Read, Request, Retries, Unreachable
from agentcontainer_local.client.errors import Misunderstood, NotReachable, TimedOut, refusal

SILENCE_SECONDS = 45.0  # the server says something every 15
LONGEST_WAIT_SECONDS = 1.0
SHORTEST_WAIT_SECONDS = 0.01  # a simulated task takes some milliseconds


@dataclass(frozen=True)
class Event:
    """`id` grows, and is None for what is live only (`message.delta`, `model.call`, `activity.output`)."""

    id: int | None
    event: str
    data: Any


def stream(task_id: str, *, after: int | None = None) -> Program[None]:
    """Each event once, as it happens, to the end of the task. Lost connections are made again."""
    path = "/tasks" + requests.below(task_id)
    retries, failures, over = (yield Retries()), 0, False
    while True:
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        request = Request("GET", path + "/events", {"stream": "true"}, headers, read_seconds=SILENCE_SECONDS)
        heard = False
        try:
            answer = yield Open(request)
            if answer.ok:
                parser = Parser()
                while chunk := (yield Read()):
                    for event in parser.feed(chunk):
                        heard, failures, after = True, 0, after if event.id is None else event.id
                        over = over or _is_the_end(event)
                        yield Emit(event)
                if over:
                    return
            elif answer.status not in requests.BUSY or failures >= retries:
                raise refusal(answer)
        except Unreachable as lost:
            answer = None
            if failures >= retries:
                raise NotReachable(str(lost)) from lost
        if answer is not None and answer.ok and not heard:
            # It ended without a word: nothing is left to be said, or the server is being stopped.
            task = yield from requests.get(path, schemas.Task)
            if task.status in lifecycle.TERMINAL:
                return
        if not heard:
            failures += 1
            yield Pause(requests.backoff(failures) if answer is None else requests.pause_of(answer, failures))


def _is_the_end(event: Event) -> bool:
    return event.event == "task.updated" and event.data["status"] in lifecycle.TERMINAL


class Parser:
    """Server-sent events out of bytes that come in pieces of any size (WHATWG HTML, 9.2.6)."""

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, chunk: bytes) -> Iterator[Event]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r").decode(errors="replace")
            if text:
                name, _, value = text.partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))
            else:
                fields, self._fields = self._fields, {}
                if "data" in fields:
                    yield _event(fields)


def _event(fields: dict[str, list[str]]) -> Event:
    number, name = fields.get("id", [""])[-1], fields.get("event", ["message"])[-1]
    try:
        event = Event(int(number) if number else None, name, json.loads("\n".join(fields["data"])))
        _is_the_end(event)
        return event
    except (ValueError, LookupError, TypeError):
        raise Misunderstood(
            "The stream contains an unknown event. Client and server may have different versions."
        ) from None


def wait(task_id: str, *statuses: str, timeout: float | None = None) -> Program[schemas.Task]:
    """Wait until the task has one of `statuses`, or has ended. Raises TimedOut after `timeout` seconds.

    It asks less and less often, at last every second: the answer comes late by a tenth of the time at most.
    """
    began = time.monotonic()
    while True:
        task = yield from requests.get("/tasks" + requests.below(task_id), schemas.Task)
        if task.status in statuses or task.status in lifecycle.TERMINAL:
            return task
        waited = time.monotonic() - began
        pause = min(LONGEST_WAIT_SECONDS, max(SHORTEST_WAIT_SECONDS, waited / 10))
        if timeout is not None and waited + pause > timeout:
            pause = timeout - waited
            if pause <= 0:
                raise TimedOut(f"The task is still {task.status} after {timeout:g} seconds.", task)
        yield Pause(pause)
