"""Runs the server in its own thread, on one port. Its store can be replaced by an empty one."""

import asyncio
import contextlib
import functools
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from agentcontainer_local import app, gateway, guest, model_access
from agentcontainer_local.engine import timers
from agentcontainer_local.engine.advance import settled
from agentcontainer_local.engine.host import Host
from agentcontainer_local.environment import API_KEY
from agentcontainer_local.process import parent
from agentcontainer_local.process.movable_clock import MovableClock
from agentcontainer_local.process.threads import CountedThreads
from agentcontainer_local.sandbox import backends
from agentcontainer_local.sandbox.backend import Backend, Kills
from agentcontainer_local.sandbox.simulated import Simulation
from agentcontainer_local.schemas import faults
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import rows, single
from agentcontainer_local.store.ids import RANDOM, Ids
from agentcontainer_local.store.tasks import SCRIPTED
from agentcontainer_local.testing import control, guests, prepared, recordings
from agentcontainer_local.testing.answer import Answer
from agentcontainer_local.testing.belongings import Belongings
from agentcontainer_local.testing.depths import Real, Simulated
from agentcontainer_local.testing.faults import kills, provider, requests
from agentcontainer_local.testing.faults.planned import Plan
from agentcontainer_local.testing.ids import SeededIds
from agentcontainer_local.testing.model import Asked, Model
from agentcontainer_local.testing.scripts import Scripts, Task
from agentcontainer_local.testing.threads import InlineThreads

log = logging.getLogger(__name__)

FIRST_START = " at the first start"  # what it makes has other ids than what comes later
SEEDED_AT = datetime(2026, 1, 1, tzinfo=UTC)  # the date at which a server with a seed starts
START_SECONDS = 120  # the first start at podman depth may have to unpack Node and Pi
XDIST_WORKER = "PYTEST_XDIST_WORKER"
T = TypeVar("T")

_made: prepared.Prepared | None = None  # by the first server of this process


class Running:
    """One server from `start` to `stop`; what it has is replaced by `reset`."""

    def __init__(
        self, settings: Mapping[str, Any], environ: Mapping[str, str], scripts: Scripts, seed: int | str | None = None
    ):
        self._given = dict(settings)
        self._seed = seed
        self.key = self._ids(FIRST_START).new_key()
        self._taped = recordings.wanted(settings)
        self._environ = {**recordings.environ(settings), **environ, API_KEY: self.key}
        self.scripts = scripts
        self.url = ""
        self.plan = Plan(lambda task_id: self._asked(task_id).task, lambda: self.host)
        self._program: app.Program | None = None
        self._answering: set[asyncio.Task[Any]] = set()
        self._prepared: prepared.Prepared | None = None
        self._stores = 0
        self._thread = threading.Thread(target=self._run, name="agentcontainer testing", daemon=True)
        self._ready: threading.Event = threading.Event()
        self._failure: BaseException | None = None

    # From the tests' threads

    def start(self) -> None:
        """Raises RuntimeError where the server cannot start, or was started before."""
        if self._thread.ident is not None:
            raise RuntimeError("This server for tests was started before. Make another one with server().")
        self._belongings = Belongings()
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise RuntimeError(f"The server for tests did not start within {START_SECONDS} s.")
        if self._failure is not None:
            self._thread.join()
            raise RuntimeError(f"The server for tests could not start: {_words(self._failure)}") from self._failure

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Does this in the server's thread; answers what it answers. Raises RuntimeError where it does not run."""
        if not self._thread.is_alive():
            raise RuntimeError("The server for tests does not run. Start it: `with server() as ac:`.")
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def reset(self) -> None:
        """An empty store, no task, no script. Requests that are being answered are cut."""
        self.call(self.replaced)

    # In the server's thread

    @property
    def folder(self) -> Path:
        """Of its stores."""
        return self._belongings.folder

    @property
    def host(self) -> Host:
        assert self._program is not None, "the server is open"
        return self._program.host

    def _run(self) -> None:
        try:
            uvloop.run(self._served())
        except BaseException as error:
            self._failure = error
            if self._ready.is_set():
                log.error("the server for tests failed", exc_info=error)
        finally:
            self._belongings.remove()
            self._ready.set()

    async def _served(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.threads = CountedThreads() if self._seed is None else InlineThreads()
        self._loop.set_default_executor(self.threads)
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            http = app.http_server(self._answer, self._settings(self.folder), requests.Connection)
            await self._open()
            serving = asyncio.create_task(http.serve(sockets=[listener]))
            while not http.started and not serving.done():
                await asyncio.sleep(0)
            self._ready.set()
            stopping = asyncio.create_task(self._stop.wait())
            # The controller of pytest-xdist has been killed: its workers take seconds to notice.
            orphaned = [asyncio.create_task(parent.ended())] if XDIST_WORKER in os.environ else []
            await asyncio.wait({stopping, serving, *orphaned}, return_when=asyncio.FIRST_COMPLETED)
            for waiting in (stopping, *orphaned):
                waiting.cancel()
            await self._close()
            serving.cancel()  # every request was cut; uvicorn's own end pauses twice for a tenth of a second
            await asyncio.gather(serving, return_exceptions=True)
            for server in http.servers:
                server.close()
            for connection in list(http.server_state.connections):
                connection.shutdown()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        this = asyncio.current_task()
        assert this is not None
        self._answering.add(this)
        answer = Answer(send)
        try:
            if self._seed is not None:
                async with self.clock.turn:
                    await settled(self.host, self.threads)
            controls = scope.get("path", "").startswith(control.PREFIX + "/")
            await (self._controls if controls else self._face)(scope, receive, answer)
        except asyncio.CancelledError:
            await answer.cut()
        finally:
            self._answering.discard(this)

    async def replaced(self) -> None:
        """See `reset`. The request that asks for it is the one that goes on."""
        await self._close()
        self.scripts.reset()
        await self._open()

    async def _open(self) -> None:
        global _made
        self._stores += 1
        data = self.folder / str(self._stores)
        if self._prepared is not None:
            self._prepared.copy_to(data)
        elif self._seed is not None:
            prepared.with_secret(data, self._seed)
        elif _made is not None:
            _made.copy_to(data)
            prepared.rename(data, self.key)
        self._open_parts = contextlib.AsyncExitStack()
        self._program = await self._open_parts.enter_async_context(self._opened(data))
        self._face = requests.around(self._program.face, self.plan, self.clock.sleep)
        self._controls = control.app(self)
        if self._prepared is None:
            self._prepared = prepared.Prepared.of(self.host.db, data)
            if self._seed is None:
                _made = _made or self._prepared
        self.host.db.ids = self._ids()

    async def _close(self) -> None:
        self.plan.reset()
        cut = self._answering - {asyncio.current_task()}
        for answering in cut:
            answering.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        await self._open_parts.aclose()
        shutil.rmtree(self.folder / str(self._stores), ignore_errors=True)

    def _ids(self, more: str = "") -> Ids:
        return RANDOM if self._seed is None else SeededIds(f"{self._seed}{more}")

    def _settings(self, data: Path) -> Settings:
        return Settings(**{"failed_workspace_retention_seconds": 0, **self._given, "data": data, "port": 0})

    @contextlib.asynccontextmanager
    async def _opened(self, data: Path) -> AsyncIterator[app.Program]:
        settings = self._settings(data)
        simulated = settings.backend == backends.SIMULATED
        depth = Simulated() if simulated else Real()
        self.clock = MovableClock(datetime.now(UTC), runs=True) if self._seed is None else MovableClock(SEEDED_AT)
        model = Model(self.scripts, depth, self._asked, self.clock.sleep)

        @contextlib.asynccontextmanager
        async def place(settings: Settings, store_id: str, *_: object) -> AsyncIterator[Backend]:
            assert isinstance(depth, Simulated)
            simulation = Simulation(data / "simulated", outputs=depth.printed, sleep=self.clock.sleep)
            depth.folder = data / "simulated" / store_id
            try:
                yield simulation.backend(store_id)
            finally:
                await simulation.close()

        @contextlib.asynccontextmanager
        async def elsewhere(settings: Settings, store_id: str, *given: Any) -> AsyncIterator[Backend]:
            self._belongings.add(backends.removal(settings, store_id))
            async with backends.open(settings, store_id, *given) as backend:
                yield backend

        async with app.opened(
            settings,
            self._environ,
            log.info,
            self.clock,
            place=place if simulated else elsewhere,
            upstream=self._upstream(model),
            guests=functools.partial(app.guests_of, grants=_granted, around=self._around_doors(model)),
            durable=False,
            ids=self._ids(FIRST_START),
        ) as program:
            parts = [asyncio.create_task(timers.run(program.host)), asyncio.create_task(app.supervised(program))]
            for part in parts:
                part.add_done_callback(_say_failed)
            try:
                yield program
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
                await _emptied(program.host)

    def _around_doors(self, model: Model) -> Callable[[ASGIApp], ASGIApp]:
        def around(app: ASGIApp) -> ASGIApp:
            return kills.around(guests.around(app, model), self.plan, lambda: self.host.db, self._kill)

        return around

    async def _kill(self, task_id: str) -> None:
        backend = self.host.backend
        assert isinstance(backend, Kills), "both depths have it"
        await backend.kill(task_id)

    def _upstream(self, model: Model) -> gateway.Wrapped:
        def wrapped(live: gateway.Upstream) -> gateway.Upstream:
            answer = recordings.beside(model.answer, live, self._has_script) if self._taped else model.answer
            return provider.around(answer, self.plan, self.clock.sleep)

        return wrapped

    def _has_script(self, task_id: str) -> bool:
        return self.scripts.of(self._asked(task_id).task) is not None

    def problems(self) -> list[str]:
        """Of scripts: each names the script, and the step that does not fit."""
        known = {word for one in rows(self.host.db, "SELECT id, name FROM agents") for word in one.values()}
        unknown = (
            f'script "{script}" is for the agent {agent!r}, and there is no agent with this id or name.'
            for agent, script in self.scripts.named_agents().items()
            if agent not in known
        )
        return [*self.scripts.problems, *unknown]

    def _asked(self, task_id: str) -> Asked:
        """What a model call of this task is about."""
        db = self.host.db
        task = tasks.get(db, task_id)
        first = transcript.of_turn(db, task_id, 1)[:1]
        agent = single(db, "SELECT id, name FROM agents WHERE id = ?", (task["agent_id"],))
        return Asked(
            Task(
                task_id,
                (agent["id"], agent["name"]),
                (task["instructions"], *(message["content"] for message in first)),
                task["model"],
                json.loads(task["metadata"]),
            ),
            turn=task["turn_number"] or 0,
            conversation=task["mode"] == "conversation",
        )


def _words(failure: BaseException) -> str:
    if isinstance(failure, ValidationError):
        return "; ".join(f"{one['field']}: {one['message']}" for one in faults.found(failure))
    return str(failure)


def _say_failed(part: asyncio.Task[None]) -> None:
    if not part.cancelled() and (error := part.exception()):
        log.error("a part of the server for tests failed; no task goes on", exc_info=error)


def _granted(host: Host, door: guest.Door) -> gateway.Grant:
    """All calls go to the script, those to the scripted model too, which costs nothing."""
    grant = model_access.grant(host, door)
    return replace(grant, all_upstream=True, free=grant.free | {SCRIPTED})


async def _emptied(host: Host) -> None:
    """Nothing of this store's runs is left."""
    for found in await host.backend.found():
        await host.backend.discard(found)
    if host.backend.capabilities.survives_server:  # else its files are in the data directory
        await asyncio.gather(*[host.backend.forget(task["id"]) for task in rows(host.db, "SELECT id FROM tasks")])
