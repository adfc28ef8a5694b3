"""The API alone on a real port, in a thread: a store and no engine, whose rows a test moves itself."""

import asyncio
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from agentcontainer_local.api import routes
from agentcontainer_local.engine.host import Host
from agentcontainer_local.http import routing
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.store.db import rows
from tests.conftest import opened_host


class Live:
    """`wrap` may put a fault before the API: it gets the ASGI app and answers one."""

    def __init__(self, folder: Path, wrap: Callable[[Callable], Callable] = lambda app: app):
        self._folder, self._wrap = folder, wrap
        self._ready = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Live":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(30)

    def _serve(self) -> None:
        uvloop.run(self._served())

    async def _served(self) -> None:
        host = opened_host(self._folder, Clock())
        host.db.conn.execute("PRAGMA synchronous=OFF")
        app = self._wrap(routing.app(host, routes.ALL))
        config = uvicorn.Config(app, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=0)
        self.host, self._loop, self._server = host, asyncio.get_running_loop(), uvicorn.Server(config)
        self._ready.set()
        await self._server._serve([self._listener])
        host.db.close()

    def do(self, act: Callable[[Host], Any]) -> Any:
        """Something done to the host, where its database may be touched; whoever listens hears of it."""

        async def done() -> Any:
            answer = act(self.host)
            self.host.changed.set(*[task["id"] for task in rows(self.host.db, "SELECT id FROM tasks")])
            return answer

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(30)
