"""The routes below /testing: what a test suite in another language does with the server for tests.

They need the API key, as the API does. A normal server has none of them.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from agentcontainer_local.errors import Invalid
from agentcontainer_local.http import middleware, routing
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.testing import clock, script_bodies
from agentcontainer_local.testing.faults import routes as faults

if TYPE_CHECKING:
    from agentcontainer_local.testing.running import Running

PREFIX = "/testing"
TAG = "Testing"


class Problems(Shape):
    """What `Server.check` would raise; empty: every script fits."""

    problems: list[str]


def app(running: "Running") -> ASGIApp:
    """For every path below /testing."""
    routes = [route for of in ROUTES for route in of(running)]
    return middleware.protected(routing.app(running.host, routes), running.host.settings)


def _routes(running: "Running") -> Iterable[Route]:
    async def reset(call: Call) -> None:
        """Everything is as at the start: no task, no file, no script, no fault."""
        await running.replaced()

    async def problems(call: Call) -> Problems:
        """The scripts that did not fit a task, each with its step; and those for an unknown agent."""
        return Problems(problems=running.problems())

    async def script(call: Call) -> script_bodies.Added:
        """What agents do from now on, as `Server.script`."""
        return script_bodies.Added(name=script_bodies.add(running.scripts, call.body).name)

    yield Route(
        "POST",
        "/scripts",
        script,
        "Add a script",
        TAG,
        script_bodies.Added,
        201,
        takes=script_bodies.ScriptBody,
        errors=(Invalid,),
        prefix=PREFIX,
    )
    yield Route("POST", "/reset", reset, "Empty the server", TAG, prefix=PREFIX)
    yield Route("GET", "/problems", problems, "List problems of scripts", TAG, Problems, prefix=PREFIX)


ROUTES: list[Callable[["Running"], Iterable[Route]]] = [
    _routes,
    faults.routes,
    lambda running: clock.routes(running, PREFIX),
]
