"""Faults that a test asks for: of the model provider, of the server, of a container, of the disk.

ac.faults.provider(429, call=2, retry_after=1)                  # the second model call of each task
ac.faults.http("dropped_after", path="/agents/*/tasks")         # the next dispatch; its answer is lost
ac.faults.kill(event=5, agent="Reporter")
ac.faults.disk_full()
ac.faults.clear()
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from agentcontainer_local.schemas import faults
from agentcontainer_local.testing.faults.planned import Plan, Planned
from agentcontainer_local.testing.faults.shapes import SHAPES

if TYPE_CHECKING:
    from agentcontainer_local.testing.running import Running

__all__ = ["BadFault", "Fault", "Faults", "Plan"]

ProviderFaults = Literal[429, 529, "timeout", "cut_stream", "slow_stream", "refusal", "overflow"]
HttpFaults = Literal[429, 500, 503, "dropped", "dropped_after", "delayed"]
Match = str | re.Pattern[str]


class BadFault(ValueError):
    """A fault that there is not. The message names the argument."""


class Fault:
    """One that is planned."""

    def __init__(self, planned: Planned):
        self._planned = planned

    @property
    def happened(self) -> int:
        """How often it has happened."""
        return self._planned.happened


class Faults:
    """For a test; each is gone after a reset."""

    def __init__(self, running: "Running"):
        self._running = running

    def provider(
        self,
        fault: ProviderFaults,
        *,
        call: int = 1,
        times: int = 1,
        retry_after: float | None = None,
        seconds: float | None = None,
        pieces: int | None = None,
        agent: str | None = None,
        instructions: Match | None = None,
        model: Match | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Fault:
        """Model calls fail: of all tasks, or of those that have everything that is given, as for `script`.

        `call`: the number of the task's model call at which it happens first; every attempt counts. `times`: for so
        many calls one after another. After a 429, a 529, a timeout and a cut stream the agent tries again, up to five
        times: after 2 seconds, 4, 8 and so on. `ac.clock.advance` skips the waits of simulated runs.

        `fault`: 429 and 529, with `retry_after` seconds; "timeout": no answer, told at once or after `seconds`;
        "cut_stream": the connection is lost after so many `pieces` of the answer (2 by default); "slow_stream":
        `seconds` between two pieces (1 by default); "refusal": the model refuses to answer; "overflow": the prompt is
        too long for the model.

        Raises BadFault.
        """
        return self._add("provider", locals())

    def http(
        self,
        fault: HttpFaults,
        *,
        times: int = 1,
        method: str | None = None,
        path: str | None = None,
        retry_after: float | None = None,
        seconds: float | None = None,
    ) -> Fault:
        """The next requests fail: so many `times`, of all, or of those with this method and path.

        `path`: as in the API reference, such as "/tasks/{taskId}/cancel"; `*` and `{…}` stand for any part.

        `fault`: 429, 500, 503, the first and the last with `retry_after` seconds; "dropped": the connection is closed
        and nothing is done; "dropped_after": all is done, and then the connection is closed without the answer;
        "delayed": answered after `seconds`.

        Raises BadFault.
        """
        return self._add("http", locals())

    def kill(
        self,
        *,
        event: int = 1,
        times: int = 1,
        agent: str | None = None,
        instructions: Match | None = None,
        model: Match | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Fault:
        """Containers are killed: of all tasks, or of those that have everything that is given, as for `script`.

        `event`: as soon as the task has this many events; their numbers are the ids in its event stream. `times`: of
        each task, so often. A task goes on in a new container; the third death in a row fails it.

        Raises BadFault.
        """
        return self._add("kill", locals())

    def disk_full(self) -> Fault:
        """The disk of the server's data is full, until `clear`: new work and files are refused with 503, and what is at
        work waits where it has to write."""
        return self._add("disk_full", {})

    def clear(self) -> None:
        """Removes all faults."""
        self._running.call(self._clear)

    async def _clear(self) -> None:
        self._running.plan.clear()

    def _add(self, kind: str, arguments: Mapping[str, Any]) -> Fault:
        given = {name: value for name, value in arguments.items() if name != "self" and value is not None}
        try:
            fault = SHAPES[kind].model_validate(given, by_name=True)
        except ValidationError as error:
            found = faults.found(error)
            raise BadFault("; ".join(f"{kind} fault: {one['field']}: {one['message']}" for one in found)) from None

        async def added() -> Fault:
            return Fault(self._running.plan.add(fault))

        return self._running.call(added)
