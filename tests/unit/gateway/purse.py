"""A process with a store and the gateway's face for its tasks, for tests that kill it: `python -m … FOLDER PORT`.

Which task a request is of is in its `x-task` header; in the product each task has a socket of its own.
"""

import json
import sys
from pathlib import Path

import uvicorn
import uvloop

from agentcontainer_local import gateway, guest, model_access
from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import accounts, agents, containers, db, tasks
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.secrets import Vault
from tests.conftest import Nowhere


def opened(folder: Path, base_urls: dict[str, str]) -> Host:
    """A host without Podman; the keys and addresses of the providers are in its environment."""
    settings = Settings(data=folder, prices_file=folder / "prices.json")
    store = db.open(folder / "agentcontainer.db")
    environ = {f"AGENTCONTAINER_{name.upper()}_BASE_URL": url for name, url in base_urls.items()}
    environ |= {f"{name.upper()}_API_KEY": "k" for name in base_urls}
    clock = Clock()
    context = Context(store, Vault.open(folder / "secret.key"), settings, environ, clock)
    accounts.ensure(context)
    containers.ensure_standard(store, clock())
    agents.ensure_standard(store, clock())
    return Host(context, Nowhere(), "str_test", {})


async def serve(folder: Path, port: int) -> None:
    host = opened(folder, json.loads((folder / "providers.json").read_text()))
    tasks.settle_leftovers(host.db)
    known: dict[str, gateway.Known] = {}
    async with gateway.client(prices_file=host.settings.prices_file) as client:

        async def face(scope, receive, send):
            task_id = next(value.decode() for name, value in scope["headers"] if name == b"x-task")
            if task_id not in known:  # as when the task's socket is opened
                known[task_id] = gateway.Known(tasks.written_tokens(host.db, task_id))
            run = tasks.open_run(host.db, task_id) or tasks.begin_run(host.db, task_id, host.now())
            door = guest.Door(host, task_id, run["id"], known[task_id])
            headers = [(name, value) for name, value in scope["headers"] if name != b"x-task"]
            await gateway.handle(model_access.grant(host, door), client, {**scope, "headers": headers}, receive, send)

        config = uvicorn.Config(
            face, port=port, lifespan="off", log_level="critical", access_log=False, ws="none", proxy_headers=False
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
