"""The door: the one unix socket through which a run's guest reaches the host."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agentcontainer_local.host import Host

SOCKET = "host.sock"


@dataclass
class Door:
    """Whoever speaks on this socket is this task; `staged` are outputs that are on their way in, by their id.

    `known`: what the gateway has learned of this run's model calls.
    """

    host: Host
    task_id: str
    run_id: str
    known: Any = None
    staged: dict = field(default_factory=dict)


@contextlib.asynccontextmanager
async def opened(door: Door, directory: Path, app) -> AsyncIterator[None]:
    """Serves `app` on the socket in `directory`, with the door in each request's scope.

    The directory is what the container mounts, so it stays and the socket in it is made anew. Everybody may connect
    to the socket (the guest is another uid), but only that container can reach it: the parent directory is 0700.
    """

    async def bound(scope, receive, send):
        with contextlib.suppress(asyncio.CancelledError):       # the door closes; nobody is there to be answered
            await app({**scope, "door": door}, receive, send)

    config = Config(bound, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=3600, ws="none")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: HttpToolsProtocol(config, state, {}), sock=_listening(directory / SOCKET)
    )
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)                  # for each connection to hear that it is cut
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
