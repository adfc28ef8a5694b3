"""What time it is, by a clock on the wall that may be set, watched with one that nobody sets."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

JUMP = timedelta(seconds=1)         # what is less is a clock that is being brought in step


class Clock:
    """Tells the time in UTC. When the wall clock has been set, or the machine slept, `jumped(by)` is told first.

    The steady clock stands still while the machine sleeps, so a laptop's night is a jump like any other.
    """

    def __init__(
        self, wall: Callable[[], datetime] = lambda: datetime.now(UTC), steady: Callable[[], float] = time.monotonic,
    ):
        self._wall = wall
        self._steady = steady
        self._between = self._apart()
        self.jumped: Callable[[timedelta], None] = lambda by: None

    def __call__(self) -> datetime:
        between = self._apart()
        by, self._between = between - self._between, between
        if abs(by) > JUMP:
            self.jumped(by)
        return self._wall()

    def _apart(self) -> timedelta:
        return self._wall() - datetime.fromtimestamp(0, UTC) - timedelta(seconds=self._steady())
