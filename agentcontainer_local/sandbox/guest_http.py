"""Answers the requests of guests, on connections from a socket or from another machine."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from agentcontainer_local.process.connection_limits import Connection

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 128  # per run: the server's open files have to suffice for all tasks


class _Connection(Connection):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.logger = log  # malformed requests of an agent must not fill the server's log

    def most(self) -> int:
        return MAX_CONNECTIONS


def _is_of_note(record: logging.LogRecord) -> bool:
    """False for a cut answer: if the provider's answer was cut, the guest's is cut too, and that is no error here."""
    return record.msg != "ASGI callable returned without completing response."


@contextlib.asynccontextmanager
async def answering(app: ASGIApp) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    """Makes the protocol object of each connection. At the end, all connections are closed."""
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
    try:
        yield lambda: _Connection(config, state, {})
    finally:
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets each connection notice that it is closed
        for at_work in (open := list(state.tasks)):
            at_work.cancel()
        await asyncio.gather(*open, return_exceptions=True)
