"""A run's guest, served on sockets in the directory that its container mounts.

The directory stays, as the container mounts it, and each socket in it is made anew. Everybody may connect to a socket
(the guest is another uid), but only that container can reach it: the parent directory is 0700.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from agentcontainer_local.process.connection_limits import Connection
from agentcontainer_local.sandbox.backend import Guest, StreamHandler

log = logging.getLogger(__name__)

HOST, EGRESS = "host.sock", "egress.sock"
MAX_CONNECTIONS = 128  # of one run at a time: files that the server has open are for all tasks


class _Connection(Connection):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.logger = log  # an agent that sends junk does not fill the server's log

    def most(self) -> int:
        return MAX_CONNECTIONS


def _is_of_note(record: logging.LogRecord) -> bool:
    """A provider's answer that was cut is cut for the guest too: that is no error of ours."""
    return record.msg != "ASGI callable returned without completing response."


@contextlib.asynccontextmanager
async def served(guest: Guest, directory: Path) -> AsyncIterator[None]:
    """No socket for egress where the guest has none."""
    async with _answered(guest.app, directory / HOST), carried(guest.egress, directory):
        yield


@contextlib.asynccontextmanager
async def _answered(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    config = Config(
        app,
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
        lambda: _Connection(config, state, {}), sock=_listening(path)
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


@contextlib.asynccontextmanager
async def carried(handler: StreamHandler | None, directory: Path) -> AsyncIterator[None]:
    """Its way out alone, where it has one."""
    path = directory / EGRESS
    path.unlink(missing_ok=True)
    if handler is None:
        yield
        return
    server = await asyncio.start_unix_server(handler, sock=_listening(path))
    try:
        yield
    finally:
        server.close()


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o666)
    return listener
