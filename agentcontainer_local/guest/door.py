"""The door: the connection of a run's guest to the host, one for each run. The backend carries its requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.engine.host import Host

MAX_HELD_BYTES = 96 * 1024**2
MAX_INCOMING_FILES = 2  # files that may be received at the same time


@dataclass
class Door:
    """The door of a run. Requests on it come from this task.

    `staged`: outputs that are being received, by id. `known`: facts that the gateway has learned from this run's model
    calls.
    """

    host: Host
    task_id: str
    run_id: str
    known: Any = None
    staged: dict[str, Any] = field(default_factory=dict)
    held_bytes: int = 0  # bytes of requests that are being read or answered
    reported_bytes: int = 0  # bytes of stored events
    receiving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_INCOMING_FILES))


def _bounded(door: Door, scope: Scope, receive: Receive) -> tuple[Receive, Callable[[], None]]:
    """Limits the memory for requests of the whole run. Above the limit, a handler sees a disconnected client."""
    if scope["method"] == "PUT":  # streamed to disk
        return receive, lambda: None
    held = 0

    async def received() -> Message:
        nonlocal held
        message = await receive()
        size = len(message.get("body", b""))
        held += size
        door.held_bytes += size
        return message if door.held_bytes <= MAX_HELD_BYTES else {"type": "http.disconnect"}

    def release() -> None:
        door.held_bytes -= held

    return received, release


@contextlib.asynccontextmanager
async def opened(door: Door, app: ASGIApp) -> AsyncIterator[ASGIApp]:
    """The app with the door in each request's scope, while the run is served."""

    async def bound(scope: Scope, receive: Receive, send: Send) -> None:
        received, release = _bounded(door, scope, receive)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the door closes, so there is nobody to answer
                await app({**scope, "door": door}, received, send)
        finally:
            release()

    try:
        yield bound
    finally:
        for staged in door.staged.values():
            staged.discard()
