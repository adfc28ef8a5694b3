"""Clocks. Dates come from the wall clock, which can be set; durations from a monotonic clock."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

JUMP = timedelta(seconds=1)  # smaller differences are adjustments of the clock
SLOW_SECONDS = 0.1  # a reading that took longer was interrupted, and is repeated
TRIES = 5


def elapsed() -> float:
    """Seconds since the machine started, including suspended time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Identifies the current boot. `elapsed` and the steady clock count within one boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Reading:
    """The three clocks at one moment. `steady` stops while the machine is suspended; `elapsed` does not."""

    wall: datetime
    steady: float
    elapsed: float

    def since(self, before: "Reading") -> tuple[timedelta, timedelta]:
        """How much the wall clock gained on the steady clock since `before`, and how much of that comes from setting
        it.

        The rest is time in which the machine was suspended. It is never negative.
        """
        steady = self.steady - before.steady
        by = self.wall - before.wall - timedelta(seconds=steady)
        suspended = timedelta(seconds=self.elapsed - before.elapsed - steady)
        return by, by - suspended if suspended > JUMP else by


class Clock:
    """The machine's clocks. Calling it returns the date in UTC.

    If the wall clock was set or the machine was suspended since the last call, it first calls `jumped(by, set_by)`: how
    much the date gained on the steady clock, and how much of that comes from setting the clock.

    `steady` is CLOCK_MONOTONIC. While a laptop is suspended no container runs and nobody can answer, so that time
    counts for no limit. CLOCK_BOOTTIME continues, which distinguishes a suspended machine from a clock that was set.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] | None = None,
    ):
        self._wall = wall
        self.steady = steady
        self.pace = steady  # the clock of rate limits
        self._elapsed = elapsed or (globals()["elapsed"] if steady is time.monotonic else steady)
        self._last = self.read()
        self.jumped: Callable[[timedelta, timedelta], None] = lambda by, set_by: None

    def __call__(self) -> datetime:
        before, self._last = self._last, self.read()
        by, set_by = self._last.since(before)
        if abs(by) > JUMP:
            self.jumped(by, set_by)
        return self._last.wall

    async def sleep(self, seconds: float) -> None:
        """Sleeps by the steady clock, like the methods below."""
        await asyncio.sleep(seconds)

    async def wait(self, futures: Iterable[asyncio.Future[Any]], seconds: float | None = None) -> bool:
        """Waits until one future is done or the time is over. Returns whether one is done."""
        done, _ = await asyncio.wait(set(futures), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)

    async def look_again(self, seconds: float) -> None:
        """A pause between two checks. About this long; shorter if a test moves the clock."""
        await asyncio.sleep(seconds)

    def read(self) -> Reading:
        for _ in range(TRIES):
            steady = self.steady()
            reading = Reading(self._wall(), steady, self._elapsed())
            if self.steady() - steady < SLOW_SECONDS:
                break
        return reading
