"""Records the model calls of tasks."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agentcontainer_local import lifecycle
from agentcontainer_local.gateway.cassettes import bodies, names, secrets
from agentcontainer_local.gateway.cassettes.document import VERSION, Head
from agentcontainer_local.gateway.cassettes.noted import Noted, written
from agentcontainer_local.gateway.cassettes.secrets import Secrets
from agentcontainer_local.gateway.cassettes.tape import Tape
from agentcontainer_local.gateway.upstream import Request, Response, Upstream
from agentcontainer_local.process import build
from agentcontainer_local.store import tasks
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import iso, row

log = logging.getLogger(__name__)

REQUEST_HEADERS = ("anthropic-version", "anthropic-beta")  # headers that influence the provider's answer
AT_REST = ("awaiting_input", "hibernating")


class Recorder:
    """Reads the store on the event loop. Writes in a separate thread, in order."""

    def __init__(self, context: Context):
        folder = context.settings.record
        assert folder is not None
        self._context, self._folder = context, folder
        self._tapes: dict[str, Tape | None] = {}  # by task; None: the task is not recorded
        self._ordinals: Counter[str] = Counter()
        self._writer = ThreadPoolExecutor(1, "recording")
        self._version = build.version()

    def around(self, live: Upstream) -> Upstream:
        @contextlib.asynccontextmanager
        async def asked(request: Request) -> AsyncIterator[Response]:
            hidden = secrets.of(self._context.environ, request.grant)
            tape = self._tape(request.grant.task_id, hidden)
            if tape is None:
                async with live(request) as response:
                    yield response
                return
            noted = Noted()
            tape.open_calls += 1
            try:
                async with live(request) as response:
                    yield noted.passed(response)
            except BaseException as error:
                noted.failed(error)
                raise
            finally:
                tape.open_calls -= 1
                self._writer.submit(_write, tape, request, noted, hidden)
                self._look(tape)

        return asked

    def _tape(self, task_id: str, hidden: Secrets) -> Tape | None:
        if task_id not in self._tapes:
            self._tapes[task_id] = self._begun(task_id, hidden)
        return self._tapes[task_id]

    def _begun(self, task_id: str, hidden: Secrets) -> Tape | None:
        if _has_called(self._context, task_id):
            log.warning("task=%s is not recorded: it made model calls before this server started to record", task_id)
            return None
        try:
            named = names.of(self._context, task_id, hidden.hidden)
        except names.BadName as error:
            log.error("task=%s is not recorded: %s", task_id, error)
            return None
        self._ordinals[named.base] += 1
        now = iso(self._context.now())
        head = Head(cassette=VERSION, recorded=now, agentcontainer=self._version, task=named.about)
        return Tape(self._folder / named.file(self._ordinals[named.base]), task_id, head)

    def changed(self, *task_ids: str) -> None:
        """Called when rows of these tasks have changed."""
        for task_id in task_ids:
            if tape := self._tapes.get(task_id):
                asyncio.get_running_loop().call_soon(self._look, tape)

    def _look(self, tape: Tape) -> None:
        """Completes the recording of an ended task after its last call."""
        if tape.open_calls == 0 and self._tapes.get(tape.task_id) is tape:
            status = tasks.get(self._context.db, tape.task_id)["status"]
            if status in lifecycle.TERMINAL:
                self._tapes[tape.task_id] = None
                self._writer.submit(tape.end, status)

    async def close(self) -> None:
        """Completes the recordings of ended and waiting tasks at the server's end. Others stay incomplete."""
        tapes, self._tapes = self._tapes, {}
        for tape in filter(None, tapes.values()):
            status = tasks.get(self._context.db, tape.task_id)["status"]
            whole = status in lifecycle.TERMINAL or status in AT_REST
            self._writer.submit(tape.end, status) if whole else self._writer.submit(tape.leave)
        await asyncio.to_thread(self._writer.shutdown)


def _has_called(context: Context, task_id: str) -> bool:
    sql = "SELECT 1 FROM model_calls WHERE task_id = ? AND status IS NOT NULL AND model <> ? LIMIT 1"
    return row(context.db, sql, (task_id, tasks.SCRIPTED)) is not None


def _write(tape: Tape, request: Request, noted: Noted, hidden: Secrets) -> None:
    try:
        tape.add(*asked(request, hidden), written(noted, hidden))
    except Exception:  # end of the thread's work: nobody awaits the result
        log.exception("a call of task=%s was not recorded", tape.task_id)
        tape.spoil()


def asked(request: Request, hidden: Secrets) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The recorded and compared parts of a request: path, headers and body."""
    path = f"{request.route.path}?{request.query}" if request.query else request.route.path
    headers = {name: request.headers[name] for name in REQUEST_HEADERS if name in request.headers}
    return path, headers, bodies.shown(request.document, hidden, request.grant.task_id)
