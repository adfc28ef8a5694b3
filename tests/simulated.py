"""A whole server in the tests' own process: real store, API, engine, door and gateway; only the runs are simulated.

Time stands still until a test moves it: `advance` does whatever becomes due, in order. A test waits for rows, not for
seconds: `until` looks again whenever something changes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from agentcontainer_local import app
from agentcontainer_local.engine import advance, supervisor, timers
from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.threads import CountedThreads
from agentcontainer_local.sandbox.simulated import Ran, Script, Simulation, Turn
from agentcontainer_local.settings import Settings

KEY = "ac_live_" + "s" * 32
ENDED = {"finished", "failed", "cancelled", "expired"}
LIMIT_SECONDS = 100  # for what takes milliseconds on a quiet machine


class SimulatedServer:
    """`script` and `blocks` say what agents do, and what their commands print; by default the scripted model does."""

    def __init__(self, folder: Path, clock, environ: dict[str, str], **settings):
        self.clock = clock
        self.settings = Settings(
            data=folder / "data",
            cache=folder / "cache",
            backend="simulated",
            failed_workspace_retention_seconds=0,
            **settings,
        )
        self._environ = {"AGENTCONTAINER_API_KEY": KEY, **environ}
        self.script: Callable[[Turn], Script | None] = lambda turn: None
        self.blocks: Callable[[str], Ran | str | None] = lambda block: None
        self.simulation = Simulation(
            folder / "runs",
            lambda turn: self.script(turn),
            lambda block: self.blocks(block),
            sleep=clock.sleep,
            survives_server=True,
        )
        self._open = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """A server on this data directory; one that was there before has to be stopped, or killed."""

        @contextlib.asynccontextmanager
        async def backend(settings, store_id, remembered, runtime):
            yield self.simulation.backend(store_id)

        program = await self._open.enter_async_context(
            app.opened(self.settings, self._environ, print, self.clock, place=backend, durable=False)
        )
        self.host: Host = program.host
        transport = httpx.ASGITransport(program.face)
        headers = {"authorization": f"Bearer {KEY}"}
        self.client = await self._open.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1", headers=headers)
        )
        self._threads = CountedThreads()
        asyncio.get_running_loop().set_default_executor(self._threads)
        self._working = [
            asyncio.create_task(supervisor.supervise(program.host, program.guest_of)),
            asyncio.create_task(timers.run(program.host)),
        ]

    async def stop(self, suspend: bool = False) -> None:
        """As SIGTERM does it, which leaves the agents at work, or Ctrl-C, which suspends them."""
        for working in self._working:
            working.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        if suspend:
            await supervisor.suspend(self.host)
        await self._open.aclose()

    async def advance(self, seconds: float) -> None:
        """Time passes, and whatever becomes due is done in order: agents that wait go on, and deadlines come."""
        await advance.advance(self.host, self.clock, seconds, self._threads)

    async def settle(self) -> None:
        """Until nobody has anything to do at this moment."""
        await advance.settled(self.host, self._threads)

    # What a client does

    async def get(self, path: str, **query) -> dict:
        response = await self.client.get(path, params=query)
        assert response.is_success, response.text
        return response.json()

    async def post(self, path: str, body: dict | None = None, expect: int = 201) -> dict:
        response = await self.client.post(path, json=body)
        assert response.status_code == expect, response.text
        return response.json()

    async def dispatch(self, instructions: str, *, agent: str = "agt_standard_coding", files=(), **overrides) -> dict:
        chosen = {"model": "scripted", "maxRuntimeSeconds": 120, **overrides}
        body = {"instructions": instructions, "inputFileIds": list(files), "overrides": chosen}
        return await self.post(f"/agents/{agent}/tasks", body)

    async def converse(self, message: str, *, instructions: str = "You help.", **body) -> dict:
        overrides = {"model": "scripted", "maxRuntimeSeconds": 120, **body.pop("overrides", {})}
        sent = {"instructions": instructions, "message": message, "overrides": overrides, **body}
        return (await self.post("/agents/agt_standard_coding/conversations", sent))["task"]

    async def say(self, task_id: str, content: str, **body) -> dict:
        return (await self.post(f"/conversations/{task_id}/messages", {"content": content, **body}))["message"]

    async def upload(self, filename: str, content: bytes) -> str:
        prepared = await self.post("/uploads/prepare", {"filename": filename})
        (await self.client.put(prepared["uploadUrl"], content=content)).raise_for_status()
        return (await self.post("/uploads/complete", {"uploadId": prepared["uploadId"]}))["id"]

    async def until(self, task_id: str, happened: Callable[[dict], bool]) -> dict:
        """The task, once that is true of it."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                changed = self.host.changed.mark()
                task = await self.get(f"/tasks/{task_id}")
                if happened(task):
                    return task
                assert task["status"] not in ENDED, (task["status"], task["error"])
                await changed

    async def wait(self, task_id: str, *statuses: str) -> dict:
        """The task once it has one of these statuses, or has ended."""
        return await self.until(task_id, lambda task: task["status"] in (statuses or ENDED))

    async def run(self, instructions: str, **options) -> dict:
        return await self.wait((await self.dispatch(instructions, **options))["id"])

    async def answered(self, task_id: str, turn: int) -> dict:
        """The answer of a turn, once that is over."""
        await self.until(
            task_id, lambda task: task["turnNumber"] > turn or task["turnStatus"] in ("completed", "failed")
        )
        said = await self.transcript(task_id)
        return next(one for one in said if one["turnNumber"] == turn and one["role"] == "assistant")

    async def transcript(self, task_id: str) -> list[dict]:
        return (await self.get(f"/conversations/{task_id}/messages", order="asc", limit=1000))["data"]

    async def history(self, task_id: str) -> list[dict]:
        return (await self.get(f"/tasks/{task_id}/events", order="asc", limit=1000))["data"]

    async def moves(self, task_id: str) -> list[str]:
        updates = [event["data"] for event in await self.history(task_id) if event["event"] == "task.updated"]
        return [update["status"] for update in updates if update["event"] not in ("turn", "mode")]

    async def said(self, task_id: str) -> str:
        """What the tools of a task printed, one after another."""
        ended = [event for event in await self.history(task_id) if event["event"] == "activity.completed"]
        return "".join(event["data"].get("output") or "" for event in ended)

    async def outputs(self, task_id: str) -> dict[str, bytes]:
        """The bytes that came out, by file name."""
        listed = (await self.get(f"/tasks/{task_id}/files"))["data"]
        urls = {file["filename"]: f"/tasks/{task_id}/files/{file['id']}" for file in listed}
        return {name: (await self.client.get(url)).raise_for_status().content for name, url in urls.items()}

    def kept(self) -> set[str]:
        """The tasks of which the backend has something."""
        return {folder.name for folder in self.simulation.folder.glob("*/*")}


@contextlib.asynccontextmanager
async def serving(
    folder: Path, clock, environ: dict[str, str] | None = None, **settings
) -> AsyncIterator[SimulatedServer]:
    server = SimulatedServer(folder, clock, environ or {}, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await server.simulation.close()


@pytest.fixture
async def simulated_server(tmp_path, clock) -> AsyncIterator[SimulatedServer]:
    async with serving(tmp_path, clock) as server:
        yield server
