"""Faults over HTTP, below /testing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agentcontainer_local.http import bodies
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.testing.faults.planned import Planned
from agentcontainer_local.testing.faults.shapes import SHAPES, Kind, ListFaultsResponse, PlannedFault

if TYPE_CHECKING:
    from agentcontainer_local.testing.running import Running

PREFIX, TAG = "/testing", "Testing"


def routes(running: "Running") -> Iterable[Route]:
    async def add(call: Call) -> PlannedFault:
        """Plans a fault."""
        settings, content_type = call.host.settings, call.request.headers.get("content-type")
        bodies.check_encoding(call.request)
        text = await bodies.read(call.request, settings.max_body_bytes, settings.data)
        kind = bodies.parse(Kind, text, content_type).kind
        return _shape(running.plan.add(bodies.parse(SHAPES[kind], text, content_type)))

    def listed(call: Call) -> ListFaultsResponse:
        """The planned faults, with how often each has happened."""
        return ListFaultsResponse(data=[_shape(planned) for planned in running.plan.faults])

    def clear(call: Call) -> None:
        """Removes all faults."""
        running.plan.clear()

    yield Route("POST", "/faults", add, "Plan a fault", TAG, PlannedFault, 201, prefix=PREFIX)
    yield Route("GET", "/faults", listed, "List faults", TAG, ListFaultsResponse, prefix=PREFIX)
    yield Route("DELETE", "/faults", clear, "Remove all faults", TAG, status=204, prefix=PREFIX)


def _shape(planned: Planned) -> PlannedFault:
    facts = planned.fault.model_dump(by_alias=True, exclude_none=True, mode="json", fallback=str)
    return PlannedFault.model_validate({"id": planned.id, "happened": planned.happened, **facts})
