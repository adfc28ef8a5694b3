"""Kills the container of a task as soon as the task has so many events."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.store.db import Database, single
from agentcontainer_local.testing.faults.planned import Plan

EVENTS = "/guest/events"


def around(app: ASGIApp, plan: Plan, store: Callable[[], Database], kill: Callable[[str], Awaitable[None]]) -> ASGIApp:
    """For the door of a run. `kill`: ends the task's container as a crash does."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        due = plan.kill(scope["door"].task_id) if scope["path"] == EVENTS else None
        if due is None:
            await app(scope, receive, send)
            return
        planned, fault = due
        answer = _Answer()
        for line in (await _body(receive)).splitlines(keepends=True):  # one at a time: none after it is known
            answer = _Answer()
            await app(scope, _alone(line), answer.take)
            if answer.is_good and _events(store(), scope["door"].task_id) >= fault.event:
                planned.happens(scope["door"].task_id)
                await kill(scope["door"].task_id)
                await _gone(receive)
                return
            if not answer.is_good:
                break
        for message in answer.messages:
            await send(message)

    return guarded


@dataclass
class _Answer:
    messages: list[Message] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return bool(self.messages) and self.messages[0].get("status") == 200

    async def take(self, message: Message) -> None:
        self.messages.append(message)


async def _body(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


def _alone(line: bytes) -> Receive:
    async def received() -> Message:
        return {"type": "http.request", "body": line, "more_body": False}

    return received


def _events(db: Database, task_id: str) -> int:
    """The number of the task's last event, as the event stream shows it."""
    sql = "SELECT coalesce(max(number), 0) AS number FROM task_events WHERE task_id = ?"
    return int(single(db, sql, (task_id,))["number"])


async def _gone(receive: Receive) -> None:
    """Until the guest is no more; it never gets an answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
