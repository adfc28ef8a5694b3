"""Clocks: dates by the wall clock, which can be set, and durations by a monotonic one."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

JUMP = timedelta(seconds=1)  # a smaller difference is a clock that is being adjusted
SLOW_SECONDS = 0.1  # a reading that took longer was interrupted, and is made again
TRIES = 5


def elapsed() -> float:
    """Seconds since the machine started, including the time in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Names the time between two starts of the machine, in which `elapsed` and the steady clock count on."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Reading:
    """The three clocks at one moment; `steady` stands still while the machine is suspended, `elapsed` does not."""

    wall: datetime
    steady: float
    elapsed: float

    def since(self, before: "Reading") -> tuple[timedelta, timedelta]:
        """By how much the wall clock went further than the steady one, and how much of that is because it was set.

        The rest is time in which the machine was suspended, which is never negative.
        """
        steady = self.steady - before.steady
        by = self.wall - before.wall - timedelta(seconds=steady)
        suspended = timedelta(seconds=self.elapsed - before.elapsed - steady)
        return by, by - suspended if suspended > JUMP else by


class Clock:
    """Called, it tells the date in UTC. When the wall clock was set, or the machine was suspended, it first calls
    `jumped(by, set_by)`: by how much the date went further than the steady clock, and how much of that was a setting.

    `steady` is CLOCK_MONOTONIC: while a laptop sleeps no container runs and nobody can answer, so that time counts
    for no limit. CLOCK_BOOTTIME goes on meanwhile: it tells a suspended machine from a clock that was set.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] | None = None,
    ):
        self._wall = wall
        self.steady = steady
        self.pace = steady  # by which the limits of requests recover
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
        """By the steady clock, as everything below."""
        await asyncio.sleep(seconds)

    async def wait(self, futures: Iterable[asyncio.Future[Any]], seconds: float | None = None) -> bool:
        """Until one of them is done, or the time is over; answers whether one is done."""
        done, _ = await asyncio.wait(set(futures), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)

    async def look_again(self, seconds: float) -> None:
        """A pause between two looks at something: about so long, and shorter where a test moves the clock."""
        await asyncio.sleep(seconds)

    def read(self) -> Reading:
        for _ in range(TRIES):
            steady = self.steady()
            reading = Reading(self._wall(), steady, self._elapsed())
            if self.steady() - steady < SLOW_SECONDS:
                break
        return reading
