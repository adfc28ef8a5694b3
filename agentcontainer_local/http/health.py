"""Health checks, metrics and the access log, for operators.

/healthz answers while the process runs. /readyz answers ok if the store can be written and containers can run, else 503
with the reason. Neither needs a key. /metrics needs a key; a key with the scope `metrics` is valid for nothing else.
"""

import asyncio
import logging
import secrets
import sqlite3
import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import Problem
from agentcontainer_local.http import metrics, routing
from agentcontainer_local.http.authentication import Authentication
from agentcontainer_local.process.tracing import Traces
from agentcontainer_local.sandbox.backend import Backend, Checks
from agentcontainer_local.store.db import is_busy, is_damage, row, why

log = logging.getLogger(__name__)
READY_SECONDS = 2.0
READY_WORDS = {
    "lock": "store: another program has locked the database",
    "database": "store: the database is damaged or can't be read; run `agentcontainer doctor`",
    "data directory": "store: the data directory can't be written; run `agentcontainer doctor`",
    "secret.key": "secret.key: provider keys can't be read; run `agentcontainer doctor`",
}
NO_STORE = {"cache-control": "no-store"}


def routes(host: Host, requests: metrics.Requests) -> list[BaseRoute]:
    authentication, place, counting = Authentication(host), _Place(host), asyncio.Lock()

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n", headers=NO_STORE)

    async def readyz(request: Request) -> Response:
        wrong = await _wrong(host, place)
        return PlainTextResponse("ok\n" if not wrong else wrong + "\n", 503 if wrong else 200, NO_STORE)

    async def measured(request: Request) -> Response:
        try:
            authentication.account(request, key_in_query=False, scope="metrics")
        except Problem as problem:
            return routing.refusal(problem)
        async with counting:
            text = await metrics.text(host, requests)
        return Response(text, headers={**NO_STORE, "content-type": metrics.CONTENT_TYPE})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", measured)]


class _Place:
    """Whether runs can start. The backend is not asked again before it has answered."""

    def __init__(self, host: Host):
        self._host = host
        self._asked: asyncio.Task[None] | None = None

    async def wrong(self) -> str:
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._host.backend.ready())
        asked = self._asked
        answered, _ = await asyncio.wait({asked}, timeout=READY_SECONDS)
        if not answered:
            known = self._host.place.reason
            return known if known else await asyncio.to_thread(_nothing_heard, self._host.backend)
        return str(asked.exception() or self._host.place.reason or "")


def _nothing_heard(backend: Backend) -> str:
    why = backend.why_silent() if isinstance(backend, Checks) else None
    return why or f"it has not answered for {READY_SECONDS:g} seconds"


async def _wrong(host: Host, place: _Place) -> str:
    """What is not ready, and the reason if it is known; empty if everything is."""
    try:
        with host.db.atomic():
            row(host.db, "SELECT id FROM store")
    except sqlite3.Error as error:
        log.warning("not ready: the store: %s", why(error))
        return READY_WORDS["database"] if is_damage(error) else READY_WORDS["lock"] if is_busy(error) else "store"
    except Exception:
        log.exception("not ready: the store")
        return "store"
    if host.integrity is not None:
        for fault in await host.integrity.faults(READY_SECONDS):
            log.warning("not ready: %s", fault.detail)
            return READY_WORDS[fault.what]
    if reason := await place.wrong():
        return f"{host.backend.capabilities.name}: {' '.join(reason.split())}"
    return ""


class Observed:
    """The outermost middleware: counts, logs and traces each request. Its id is in X-Request-Id and in the log."""

    def __init__(self, app: ASGIApp, requests: metrics.Requests, traces: Traces | None = None):
        self.app = app
        self.requests = requests
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        id, began, status = secrets.token_hex(6), time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.requests.count(scope["method"], status, time.perf_counter() - began)
                message = {**message, "headers": [*message["headers"], (b"x-request-id", id.encode())]}
            await send(message)

        try:
            if self.traces is None:
                await self.app(scope, receive, sent)
            else:
                with self.traces.request(scope, id) as ended:
                    await self.app(scope, receive, sent)
                    ended(status)
        finally:
            # the path without the query, which may contain a key or a signature
            facts = {
                "request": id,
                "method": scope["method"],
                "path": _quoted(scope["path"]),
                "status": status,
                "ms": round((time.perf_counter() - began) * 1000, 1),
            }
            log.debug("request=%(request)s method=%(method)s path=%(path)s status=%(status)d ms=%(ms).1f", facts)


def _quoted(path: str) -> str:
    return path.encode("unicode_escape").decode()[:500]
