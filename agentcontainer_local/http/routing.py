"""Routes as declarations: a verb, a path, its shapes, and a function from a Call to a shape.

Authentication, bodies, errors, idempotency, pagination and the OpenAPI document all come from the same `Route`.
"""

import functools
import inspect
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from starlette import routing
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from agentcontainer_local.engine.host import Host
from agentcontainer_local.errors import MethodNotAllowed, NotFound, Problem, Unauthorized, Unavailable
from agentcontainer_local.http import bodies, hosted_only, idempotency
from agentcontainer_local.http.authentication import Authentication
from agentcontainer_local.http.pagination import Cut, cut_of
from agentcontainer_local.process import disk_space, failpoints
from agentcontainer_local.store.db import Row, is_damage, why
from agentcontainer_local.store.log import NotSynced

PREFIX = "/api/v1"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Route:
    """`answers`: the shape of the answer; None: 204. The function returns the shape, or its JSON.

    `raw`: the function reads the body itself and returns a Response.

    `replayable`: the route accepts an Idempotency-Key. Its function must not await, because its effect and the answer
    are one transaction, even without a key.
    """

    verb: str
    path: str
    function: Callable[["Call"], Any | Awaitable[Any]]
    summary: str
    tag: str
    answers: type[BaseModel] | None = None
    status: int = 200
    takes: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    errors: tuple[type[Problem], ...] = ()
    open: bool = False  # needs no key
    key_in_query: bool = False  # also accepts ?apiKey=, for clients that can't send headers
    replayable: bool = False
    replay_extension: bool = False  # the hosted service has no Idempotency-Key for it
    extension: bool = False  # the hosted service does not have this operation
    extension_without: str | None = None  # the hosted service has it only with this query parameter
    secret: bool = False  # its answer is shown only once
    raw: bool = False
    content: dict[str, Any] = field(default_factory=dict)  # the answer of a raw route, for the OpenAPI document
    sends: dict[str, Any] = field(default_factory=dict)  # the body of a raw route
    headers: dict[str, str] = field(default_factory=dict)  # headers that it reads, with their descriptions
    also: dict[str, Any] = field(default_factory=dict)  # other answers that are not errors, by status
    example: dict[str, Any] | None = None  # an example of the body
    prefix: str = PREFIX


@dataclass
class Call:
    """A request and its caller."""

    host: Host
    request: Request
    caller: Row | None  # the account of its key; None if the route needs no key
    now: datetime
    authenticate: Callable[[], Row | None]  # checks the key again; raises Unauthorized
    body: Any = None
    query: Any = None

    def param(self, name: str) -> str:
        return str(self.request.path_params[name])

    @property
    def account(self) -> Row:
        """The caller's account. Only for routes that need a key."""
        if self.caller is None:
            raise LookupError("a route that needs no key has no account")
        return self.caller

    def is_still_allowed(self) -> bool:
        """Whether the key is still valid. It may be revoked during a long answer."""
        try:
            self.authenticate()
        except Unauthorized:
            return False
        return True

    @property
    def cut(self) -> Cut:
        return cut_of(self.query)


def app(host: Host, routes: Iterable[Route]) -> routing.Router:
    """The ASGI app of the routes, each under /api/v1. All errors have the ErrorResponse shape."""
    return routing.Router(mounted(host, routes), redirect_slashes=False, default=unknown)


def mounted(host: Host, routes: Iterable[Route]) -> list[routing.BaseRoute]:
    """One Starlette route for each path, in the order of first appearance."""
    paths: dict[str, dict[str, Route]] = {}
    for route in routes:
        paths.setdefault(route.prefix + route.path, {})[route.verb] = route
    authentication = Authentication(host)
    return [routing.Route(path, Resource(host, authentication, verbs)) for path, verbs in paths.items()]


async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers requests for unknown paths."""
    if scope["type"] == "http":
        await refusal(NotFound("No such path. The API is described at /docs."))(scope, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})


class Resource:
    """All verbs of one path, as an ASGI app."""

    def __init__(self, host: Host, authentication: Authentication, verbs: dict[str, Route]):
        self.host = host
        self.authentication = authentication
        self.hosted = hosted_only.of(host.settings.hosted_only)
        self.verbs = verbs if "HEAD" in verbs or "GET" not in verbs else {**verbs, "HEAD": verbs["GET"]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            send = _headers_only(send)
        if self.hosted is not None:
            send = self.hosted.marking(scope, send)
        try:
            response = await self._answer(scope, receive)
            await response(scope, receive, send)
        except Problem as problem:
            await refusal(problem)(scope, receive, send)
        except ClientDisconnect:
            pass

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        route = self.verbs.get(scope["method"])
        if route is None:
            return refusal(MethodNotAllowed("This path does not support the method."), {"allow": ", ".join(self.verbs)})
        try:
            return await self._call(route, Request(scope, receive))
        except (Problem, ClientDisconnect):
            raise
        except Exception as error:
            log.exception("%s %s failed", route.verb, route.path)
            return refusal(_problem(error))

    async def _call(self, route: Route, request: Request) -> Response:
        authenticate = functools.partial(self._account, route, request)
        call = Call(self.host, request, authenticate(), self.host.now(), authenticate)
        if self.hosted is not None and route.extension:
            self.hosted.operation(request, f"{route.verb} {route.prefix}{route.path}")
        if route.query is not None:
            call.query = bodies.query(route.query, request.query_params)
        if route.takes is not None or route.sends:
            bodies.check_encoding(request)
        text = b""
        if route.takes is not None:
            text = await bodies.read(request, self.host.settings.max_body_bytes, self.host.settings.data)
            call.body = bodies.parse(route.takes, text, request.headers.get("content-type"), route.body_required)
        if self.hosted is not None and not route.extension:
            self.hosted.fields(request, call.query, call.body)
            if route.extension_without and not getattr(call.query, route.extension_without):
                without = f" without {route.extension_without}=true"
                self.hosted.operation(request, f"{route.verb} {route.prefix}{route.path}{without}")
        waited = self.host.db.waited  # only a write waits while another program holds the database's lock
        if route.replayable:
            return await waited(lambda: self._kept(route, call, text))
        answered = await waited(lambda: route.function(call))
        if not isinstance(answered, BaseModel) and inspect.isawaitable(answered):
            answered = await answered
        return self._written(route, answered)

    def _account(self, route: Route, request: Request) -> Row | None:
        return None if route.open else self.authentication.account(request, route.key_in_query)

    def _kept(self, route: Route, call: Call, text: bytes) -> Response:
        """Runs the route and stores its answer. The answer is created inside the transaction."""
        key, store = self._key(route, call.request), self.host.db

        def act() -> Response:
            return self._written(route, route.function(call))

        with store.atomic():
            response = (
                act()
                if key is None
                else idempotency.once(
                    store, call.account["id"], call.request.url.path, key, text, call.now, act, route.secret
                )
            )
        failpoints.point("request.kept")
        return response

    def _key(self, route: Route, request: Request) -> str | None:
        if self.hosted is not None and route.replay_extension:
            return self.hosted.key(request)
        return request.headers.get("idempotency-key")

    def _written(self, route: Route, answered: object) -> Response:
        return _written(route, answered, None if self.hosted is None else self.hosted.left_out(route.answers))


def _problem(error: Exception) -> Problem:
    """The answer for an unexpected error. 503 if nothing can be read or stored at the moment; then nothing was done."""
    if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
        return Unavailable(
            f"The database can't be read: {why(error)}. `agentcontainer doctor` on the"
            " server's machine shows the remedy."
        )
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable(
            f"The database can't answer: {why(error)}. Try again. `agentcontainer doctor` on"
            " the server's machine shows the cause."
        )
    if isinstance(error, NotSynced):
        return Unavailable(
            f"The server can't confirm that the request is stored ({error.strerror}). Repeat it with the same"
            " Idempotency-Key, or look whether it was done. `agentcontainer doctor` on the server's machine shows the"
            " cause."
        )
    if isinstance(error, OSError) and error.errno in disk_space.UNWRITABLE:
        return Unavailable(
            f"The server can't store anything ({error.strerror}). `agentcontainer doctor` on the"
            " server's machine shows the cause."
        )
    return Problem("Internal error. The server's log has the details.")


def _written(route: Route, answered: object, left_out: dict[str, Any] | None) -> Response:
    if route.raw and isinstance(answered, Response):
        return answered
    if route.answers is None and not route.raw:
        return Response(status_code=204)
    if isinstance(answered, bytes):
        if not left_out or route.answers is None:
            return Json(answered, route.status)
        answered = route.answers.model_validate_json(answered)
    if route.answers is None or not isinstance(answered, route.answers):
        raise TypeError(f"{route.verb} {route.path} answered a {type(answered).__name__}")
    return Json(json_of(answered, left_out), route.status)


def json_of(shape: BaseModel, left_out: dict[str, Any] | None = None) -> bytes:
    """The shape as JSON, directly from the serializer: model_dump_json would create a str first."""
    return shape.__pydantic_serializer__.to_json(shape, by_alias=True, exclude=left_out)


class Json(Response):
    """An answer with JSON. It skips a third of Starlette's work, which searches for headers that it never has."""

    def __init__(self, body: bytes, status: int):
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def refusal(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    headers = {**(headers or {}), **getattr(problem, "headers", {})}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if (retry_after := getattr(problem, "retry_after", None)) is not None:
        headers["retry-after"] = str(retry_after)
    return Response(bodies.dumps(problem.body()), problem.status, headers, "application/json")


def _headers_only(send: Send) -> Send:
    async def sent(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sent
