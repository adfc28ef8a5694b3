"""The clock of a server for tests: it runs as the real one does, and a test moves it forward."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agentcontainer_local.engine.advance import advance
from agentcontainer_local.errors import Invalid, Unavailable
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.schemas.base import Request, Shape
from agentcontainer_local.store.db import iso
from agentcontainer_local.testing.durations import Duration, seconds

if TYPE_CHECKING:
    from agentcontainer_local.testing.running import Running

TAG = "Testing"
LATEST = datetime(9000, 1, 1, tzinfo=UTC)  # deadlines, which are later, still have a year of four digits


class VirtualClock:
    """The server's clock, for a test."""

    def __init__(self, running: "Running"):
        self._running = running

    def now(self) -> datetime:
        """In UTC."""
        return self._running.call(lambda: _now(self._running))

    def advance(self, duration: Duration) -> datetime:
        """Moves the clock forward by 90 (seconds), "90s", "1h30m", "7d", "P7D" or a timedelta; answers the new date.

        Everything that becomes due is done in order, each at its own moment, and has been done when this returns:
        deadlines of tasks, sessions, uploads, keys and retention, and steps of scripts that wait. Real containers
        (backend "podman") go on in real time: what they do because of a deadline is not waited for.

        Raises ValueError for what is not a duration, a negative one, or a date after the year 9000, and TimeoutError
        where agents come to no end.
        """
        ahead = seconds(duration)
        return self._running.call(lambda: advanced(self._running, ahead))


async def advanced(running: "Running", ahead: float) -> datetime:
    """Raises ValueError and TimeoutError, as `VirtualClock.advance`."""
    if ahead > (LATEST - running.clock()).total_seconds():
        raise ValueError(f"The clock ends with the year {LATEST.year}. Advance it by less, or reset the server.")
    await advance(running.host, running.clock, ahead, running.threads)
    return running.clock()


async def _now(running: "Running") -> datetime:
    return running.clock()


class AdvanceRequest(Request):
    by: float | str


class ClockShape(Shape):
    now: str


def routes(running: "Running", prefix: str) -> Iterable[Route]:
    async def read(call: Call) -> ClockShape:
        """The server's date."""
        return ClockShape(now=iso(running.clock()))

    async def move(call: Call) -> ClockShape:
        """Moves the server's clock forward, by seconds or by a text such as `7d`, `1h30m` or `P7D`; answers when
        everything is done that became due."""
        try:
            return ClockShape(now=iso(await advanced(running, seconds(call.body.by))))
        except ValueError as error:
            raise Invalid.field("by", str(error)) from None
        except TimeoutError as error:
            raise Unavailable(str(error)) from None

    yield Route("GET", "/clock", read, "Get the clock", TAG, ClockShape, prefix=prefix)
    yield Route(
        "POST", "/clock/advance", move, "Advance the clock", TAG, ClockShape, takes=AdvanceRequest, prefix=prefix
    )
