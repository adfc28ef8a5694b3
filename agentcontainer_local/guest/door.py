"""The door: the one unix socket through which a run's guest reaches the host."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from agentcontainer_local.engine.host import Host
from agentcontainer_local.http.connection_limits import Connection

log = logging.getLogger(__name__)

SOCKET = "host.sock"
MOST_CONNECTIONS = 128  # of one run at a time: files that the server has open are for all tasks
MOST_HELD_BYTES = 96 * 1024**2
MOST_RECEIVED_AT_ONCE = 2  # files that are on their way in


@dataclass
class Door:
    """Whoever speaks on this socket is this task; `staged` are outputs that are on their way in, by their id.

    `known`: what the gateway has learned of this run's model calls.
    """

    host: Host
    task_id: str
    run_id: str
    known: Any = None
    staged: dict[str, Any] = field(default_factory=dict)
    held_bytes: int = 0  # of requests that are being read or answered
    reported_bytes: int = 0  # of events that are kept
    receiving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_RECEIVED_AT_ONCE))


class _Connection(Connection):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.logger = log  # an agent that sends junk does not fill the server's log

    def most(self) -> int:
        return MOST_CONNECTIONS


def _bounded(door: Door, scope: Scope, receive: Receive) -> tuple[Receive, Callable[[], None]]:
    """What handlers take into memory is bounded for the whole run; one that takes more finds its client gone."""
    if scope["method"] == "PUT":  # streamed to disk
        return receive, lambda: None
    held = 0

    async def received() -> Message:
        nonlocal held
        message = await receive()
        size = len(message.get("body", b""))
        held += size
        door.held_bytes += size
        return message if door.held_bytes <= MOST_HELD_BYTES else {"type": "http.disconnect"}

    def release() -> None:
        door.held_bytes -= held

    return received, release


def _is_of_note(record: logging.LogRecord) -> bool:
    """A provider's answer that was cut is cut for the guest too: that is no error of ours."""
    return record.msg != "ASGI callable returned without completing response."


@contextlib.asynccontextmanager
async def opened(door: Door, directory: Path, app: ASGIApp) -> AsyncIterator[None]:
    """Serves `app` on the socket in `directory`, with the door in each request's scope.

    The directory is what the container mounts, so it stays and the socket in it is made anew. Everybody may connect
    to the socket (the guest is another uid), but only that container can reach it: the parent directory is 0700.
    """

    async def bound(scope: Scope, receive: Receive, send: Send) -> None:
        received, release = _bounded(door, scope, receive)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the door closes; nobody is there to be answered
                await app({**scope, "door": door}, received, send)
        finally:
            release()

    config = Config(
        bound,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=3600,
        ws="none",
        proxy_headers=False,
    )
    config.load()
    log.setLevel(logging.ERROR)
    log.addFilter(_is_of_note)
    state = ServerState()
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: _Connection(config, state, {}), sock=_listening(directory / SOCKET)
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # for each connection to hear that it is cut
        for answering in (open := list(state.tasks)):
            answering.cancel()
        await asyncio.gather(*open, return_exceptions=True)
        for staged in door.staged.values():
            staged.discard()


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o666)
    return listener
