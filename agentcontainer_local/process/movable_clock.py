"""A clock that tests and the stand-in can move. Sleepers are woken in order."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from agentcontainer_local.process.clock import Clock

MICROSECOND = timedelta(microseconds=1)


class MovableClock(Clock):
    """Replaces all clocks of a machine. It stands still, or with `runs` also advances like the machine's clock.

    Moments are whole microseconds since the clock was created, so that sums of durations are exact. Use it on one event
    loop. Without a running loop, `advance` works only while nobody sleeps.
    """

    def __init__(self, at: datetime, *, runs: bool = False):
        self.began_at = at
        self._moved = 0  # microseconds
        self._runs_since = time.monotonic() if runs else None
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._lookers: list[asyncio.Future[None]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self.turn = asyncio.Lock()  # held while the clock is moved step by step
        super().__init__(lambda: self.began_at + self.moment() * MICROSECOND, lambda: self.moment() / 1e6)
        # Rate limits recover even while the clock stands still, because they protect the machine.
        self.pace = lambda: time.monotonic() + self.steady()

    def moment(self) -> int:
        """Microseconds since the clock was created."""
        ran = 0.0 if self._runs_since is None else time.monotonic() - self._runs_since
        return self._moved + round(ran * 1e6)

    def advance(self, seconds: float) -> None:
        """Moves the clock forward. Wakes sleepers in order of their moments, and everybody in `look_again`."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds} s")
        self.move_to(self.moment() + round(seconds * 1e6))

    def move_to(self, moment: int) -> None:
        """Moves the clock forward to a moment. A past moment changes nothing."""
        self._moved += max(0, moment - self.moment())
        self._wake()
        lookers, self._lookers = self._lookers, []
        for looker in lookers:
            _done(looker)

    def next(self) -> int | None:
        """The earliest moment at which a sleeper wakes, or None."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """While open, the clock only changes when it is moved."""
        if self._runs_since is None:
            yield
            return
        self._moved, self._runs_since = self.moment(), None
        try:
            yield
        finally:
            self._runs_since = time.monotonic()
            self._arm()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            await self._timer(seconds)

    async def wait(self, futures: Iterable[asyncio.Future[Any]], seconds: float | None = None) -> bool:
        if seconds is None:
            return await super().wait(futures)
        timer = self._timer(seconds)
        try:
            await asyncio.wait({*futures, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        return any(future.done() for future in futures)

    async def look_again(self, seconds: float) -> None:
        looker = asyncio.get_running_loop().create_future()
        self._lookers.append(looker)
        try:
            await asyncio.wait({looker}, timeout=None if self._runs_since is None else seconds)
        finally:
            _done(looker)
            self._lookers = [one for one in self._lookers if not one.done()]

    def _timer(self, seconds: float) -> asyncio.Future[None]:
        """A future that completes at its moment, never the present one, so that loops with pauses let time pass."""
        timer = asyncio.get_running_loop().create_future()
        moment = self.moment() + max(1, round(seconds * 1e6))
        heapq.heappush(self._sleepers, (moment, next(self._order), timer))
        self._arm()
        return timer

    def _wake(self) -> None:
        while (moment := self.next()) is not None and moment <= self.moment():
            _done(heapq.heappop(self._sleepers)[2])
        self._arm()

    def _arm(self) -> None:
        """While the clock runs, schedules the next sleeper's wake-up on the event loop."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        moment = self.next()
        if self._runs_since is not None and moment is not None:
            self._alarm = asyncio.get_running_loop().call_later((moment - self.moment()) / 1e6, self._wake)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
