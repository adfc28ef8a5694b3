"""Serves a run's guest on sockets in the directory that its container mounts.

The directory stays, because the container mounts it; the sockets in it are created again. Every uid may connect to a
socket, because the guest has its own, but only that container can reach it: the parent directory has mode 0700.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.types import ASGIApp

from agentcontainer_local.sandbox import guest_http
from agentcontainer_local.sandbox.backend import Guest, StreamHandler

HOST, EGRESS = "host.sock", "egress.sock"


@contextlib.asynccontextmanager
async def served(guest: Guest, directory: Path) -> AsyncIterator[None]:
    """Serves the guest's sockets while open. There is no egress socket if the guest has no egress."""
    host = _relayed(guest.relay, directory / HOST) if guest.relay else _answered(guest.app, directory / HOST)
    async with host, carried(guest.egress, directory):
        yield


@contextlib.asynccontextmanager
async def _answered(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    async with guest_http.answering(app) as connection:
        server = await asyncio.get_running_loop().create_unix_server(connection, sock=_listening(path))
        try:
            yield
        finally:
            server.close()


@contextlib.asynccontextmanager
async def carried(handler: StreamHandler | None, directory: Path) -> AsyncIterator[None]:
    """Serves the egress socket alone, if there is a handler."""
    path = directory / EGRESS
    path.unlink(missing_ok=True)
    if handler is None:
        yield
        return
    async with _relayed(handler, path):
        yield


@contextlib.asynccontextmanager
async def _relayed(handler: StreamHandler, path: Path) -> AsyncIterator[None]:
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
