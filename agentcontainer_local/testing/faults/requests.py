"""What happens to the requests of clients: an error, a delay, or no answer."""

import re
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentcontainer_local.errors import Problem, TooManyRequests, Unavailable
from agentcontainer_local.http import middleware
from agentcontainer_local.http.routing import PREFIX, refusal
from agentcontainer_local.testing.faults.planned import Plan
from agentcontainer_local.testing.faults.shapes import HttpFault

DROP = "agentcontainer.drop"  # in a request's scope: closes its connection
ASKED_FOR = "A fault that the test asked for."
ANY_PART = re.compile(r"\\\*|\\{\w+\\}")


class Connection(middleware.Connection):
    """One that a request can close without an answer."""

    def _start_asgi_task(self, cycle, app):  # type: ignore[no-untyped-def]  # uvicorn's own
        def drop() -> None:
            cycle.disconnected = True  # so that uvicorn answers nothing either
            cycle.message_event.set()
            cycle.transport.close()

        cycle.scope[DROP] = drop
        super()._start_asgi_task(cycle, app)


def around(app: ASGIApp, plan: Plan, sleep: Callable[[float], Awaitable[None]]) -> ASGIApp:
    """`sleep`: by the server's clock."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        fault = plan.request(lambda one: _matches(one, scope)) if scope["type"] == "http" else None
        if fault is None:
            await app(scope, receive, send)
        elif fault.fault == "delayed":
            await sleep(fault.seconds or 0)
            await app(scope, receive, send)
        elif fault.fault == "dropped":
            scope[DROP]()
        elif fault.fault == "dropped_after":
            await app(scope, receive, _dropping(scope))
        else:
            await refusal(_problem(fault))(scope, receive, send)

    return guarded


def _matches(fault: HttpFault, scope: Scope) -> bool:
    if fault.method is not None and fault.method.upper() != scope["method"]:
        return False
    if fault.path is None:
        return True
    path: str = scope["path"]
    pattern = ANY_PART.sub("[^/]+", re.escape(fault.path))
    return any(re.fullmatch(pattern, one) for one in (path, path.removeprefix(PREFIX)))


def _dropping(scope: Scope) -> Send:
    """The work is done when the answer begins."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            scope[DROP]()

    return sent


def _problem(fault: HttpFault) -> Problem:
    if fault.fault == 429:
        return TooManyRequests(1 if fault.retry_after is None else fault.retry_after)
    if fault.fault == 500:
        return Problem(ASKED_FOR)
    problem = Unavailable(ASKED_FOR)
    if fault.retry_after is not None:
        problem.retry_after = f"{fault.retry_after:g}"  # type: ignore[attr-defined]  # `refusal` looks for it
    return problem
