"""The clock of a server for tests: it runs as the real one does, and a test moves it forward."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agentcontainer_local.engine import timers
from agentcontainer_local.process import clock

if TYPE_CHECKING:
    from agentcontainer_local.testing.running import Running

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")


class Moved(clock.Clock):
    """All clocks of the server, ahead of the machine's by `ahead` seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        super().__init__(
            lambda: datetime.now(UTC) + timedelta(seconds=self.ahead),
            lambda: time.monotonic() + self.ahead,
        )
        self._moved: asyncio.Future[None] | None = None

    def forward(self, seconds: float) -> None:
        """On the event loop: whoever sleeps looks again."""
        self.ahead += seconds
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)

    async def sleep(self, seconds: float) -> None:
        until = self.steady() + seconds
        while (left := until - self.steady()) > 0:
            if self._moved is None or self._moved.done():
                self._moved = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._moved}, timeout=left)


def seconds(duration: float | str | timedelta) -> float:
    """Of 90, "90s", "1h30m", "7d", or a timedelta. Raises ValueError."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if not isinstance(duration, str):
        return float(duration)
    if not DURATION.fullmatch(duration):
        raise ValueError(f'"{duration}" is not a duration. Give seconds, or for example "90s", "1h30m" or "7d".')
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", duration))


class VirtualClock:
    """The server's clock, for a test."""

    def __init__(self, running: "Running"):
        self._running = running

    def now(self) -> datetime:
        return self._running.clock()

    def advance(self, duration: float | str | timedelta) -> None:
        """Moves the clock forward."""
        ahead = seconds(duration)
        self._running.call(lambda: self._advanced(ahead))

    async def _advanced(self, ahead: float) -> None:
        self._running.clock.forward(ahead)
        await timers.scan(self._running.host)
