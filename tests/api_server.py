"""Serves the API alone, with a real store and no engine: `python -m tests.api_server DIR` prints its port."""

import socket
import sys
from pathlib import Path

import uvicorn

from agentcontainer_local.api import routes
from agentcontainer_local.http import routing
from agentcontainer_local.process.clock import Clock
from tests.conftest import opened_host


def main(folder: Path) -> None:
    host = opened_host(folder, Clock())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(routing.app(host, routes.ALL), lifespan="off", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
