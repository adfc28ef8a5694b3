"""A wall clock that is set, or a machine that slept, is noticed by the clock that nobody sets."""

from datetime import UTC, datetime, timedelta

from agentcontainer_local.clock import Clock


class Times:
    def __init__(self):
        self.wall = datetime(2026, 3, 25, tzinfo=UTC)
        self.steady = 1000.0
        self.jumps: list[timedelta] = []
        self.clock = Clock(lambda: self.wall, lambda: self.steady)
        self.clock.jumped = self.jumps.append

    def pass_(self, seconds: float, wall: float | None = None) -> datetime:
        self.steady += seconds
        self.wall += timedelta(seconds=seconds if wall is None else wall)
        return self.clock()


def test_time_that_passes_is_no_jump():
    times = Times()
    for _ in range(5):
        assert times.pass_(3600) == times.wall
    assert times.jumps == []


def test_a_clock_that_is_brought_in_step_slowly_is_no_jump():
    times = Times()
    for _ in range(100):
        times.pass_(10, wall=10.5)
    assert times.jumps == []


def test_a_clock_that_is_set_and_a_night_s_sleep_are_jumps_told_once():
    times = Times()
    times.pass_(1, wall=3601)
    times.pass_(1)
    times.pass_(0, wall=28_800)
    times.pass_(1, wall=-7199)
    assert [jump.total_seconds() for jump in times.jumps] == [3600, 28_800, -7200]
