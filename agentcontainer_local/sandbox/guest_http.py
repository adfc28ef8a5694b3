"""A guest's requests, answered on connections that a backend brings: of a socket, or from another machine."""

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
async def answering(app: ASGIApp) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    """Makes the protocol of each connection. At the end all of them are cut."""
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
        await asyncio.sleep(0)  # for each connection to hear that it is cut
        for at_work in (open := list(state.tasks)):
            at_work.cancel()
        await asyncio.gather(*open, return_exceptions=True)
