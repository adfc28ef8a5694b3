"""A wall clock that is set, or a machine that slept, is noticed by the clock that nobody sets."""

from datetime import UTC, datetime, timedelta

from agentcontainer_local.process.clock import Clock


class Times:
    def __init__(self):
        self.wall = datetime(2026, 3, 25, tzinfo=UTC)
        self.steady = 1000.0
        self.suspended = 0.0
        self.jumps: list[tuple[float, float]] = []
        self.clock = Clock(lambda: self.wall, lambda: self.steady, lambda: self.steady + self.suspended)
        self.clock.jumped = lambda by, set_by: self.jumps.append((by.total_seconds(), set_by.total_seconds()))

    def pass_(self, seconds: float, wall: float | None = None, suspended: float = 0) -> datetime:
        self.steady += seconds
        self.suspended += suspended
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
    times.pass_(0, wall=28_800, suspended=28_800)
    times.pass_(1, wall=-7199)
    times.pass_(1, wall=3_601 + 7_200, suspended=3_600)
    assert times.jumps == [(3600, 3600), (28_800, 0), (-7200, -7200), (10_800, 7_200)]


def test_a_reading_that_was_interrupted_between_two_clocks_is_no_jump():
    times, stops = Times(), iter([60.0])

    def wall() -> datetime:
        now = times.wall
        stopped = next(stops, 0)  # the process is stopped after it was told the date
        times.steady += stopped
        times.wall += timedelta(seconds=stopped)
        return now

    times.clock._wall = wall
    assert times.clock() == times.wall
    times.pass_(1)
    assert times.jumps == []
