"""Whoever sleeps by a movable clock is woken when it is moved, in the order of the moments."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.http.middleware import Rate
from agentcontainer_local.process.movable_clock import MovableClock
from agentcontainer_local.process.threads import CountedThreads

AT = datetime(2026, 3, 25, 9, 30, tzinfo=UTC)


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def began(*work: Coroutine) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(one) for one in work]
    await turns()
    return tasks


async def test_sleepers_are_woken_in_the_order_of_their_moments():
    clock, woken = MovableClock(AT), []

    async def sleep(seconds: float, name: str) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    await began(sleep(3, "c"), sleep(1, "a"), sleep(2, "b"), sleep(1, "a2"), sleep(4, "d"))
    clock.advance(3)
    await turns()
    assert woken == ["a", "a2", "b", "c"]
    assert (clock(), clock.steady(), clock.next()) == (AT + timedelta(seconds=3), 3.0, 4_000_000)


async def test_a_wait_ends_with_what_is_waited_for_or_with_its_time():
    clock, happens = MovableClock(AT), asyncio.get_running_loop().create_future()
    first, second = await began(clock.wait([happens], 5), clock.wait([happens]))
    clock.advance(5)
    await turns()
    assert first.done() and not first.result() and not second.done()
    (third,) = await began(clock.wait([happens], 5))
    happens.set_result(None)
    assert await third and await second
    assert clock.next() is None, "a wait that is over leaves no sleeper"


def test_time_does_not_go_back():
    clock = MovableClock(AT)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    assert clock() == AT


async def test_a_cancelled_sleeper_is_forgotten():
    clock = MovableClock(AT)
    (sleeping,) = await began(clock.sleep(1))
    sleeping.cancel()
    await turns()
    clock.advance(2)
    assert sleeping.cancelled() and clock.next() is None


async def test_the_shortest_sleep_takes_time_and_none_takes_none():
    """Else a loop that waits for the rest of a second would go round for ever."""
    clock = MovableClock(AT)
    await clock.sleep(0)
    (sleeping,) = await began(clock.sleep(1e-12))
    assert clock.next() == 1 and not sleeping.done()
    clock.move_to(1)
    await sleeping


async def test_every_move_ends_a_pause_between_two_looks():
    clock = MovableClock(AT)
    (looking,) = await began(clock.look_again(1000))
    assert clock.next() is None, "nothing is due because somebody looks"
    clock.advance(0.001)
    await turns()
    assert looking.done() and not clock._lookers


async def test_a_clock_that_runs_wakes_sleepers_by_itself_and_stands_still_while_it_is_held():
    clock = MovableClock(AT, runs=True)
    began_at = time.monotonic()
    assert not await clock.wait([asyncio.get_running_loop().create_future()], 0.02)
    await clock.look_again(0.02)
    assert not clock._lookers
    assert time.monotonic() - began_at >= 0.04 and clock.steady() >= 0.04
    with clock.held():
        held_at = clock()
        (sleeping,) = await began(clock.sleep(0.01))
        await asyncio.sleep(0.03)
        assert clock() == held_at and not sleeping.done()
        clock.advance(3600)
        assert clock() == held_at + timedelta(hours=1)
    await sleeping
    (sleeping,) = await began(clock.sleep(0.01))
    await sleeping
    assert clock() > held_at + timedelta(hours=1)


@given(st.lists(st.floats(0, 1e7, allow_nan=False), max_size=20))
def test_moves_add_up_exactly_and_are_no_step_of_the_wall_clock(moves: list[float]):
    clock, jumps = MovableClock(AT), []
    clock.jumped = lambda by, set_by: jumps.append(by)
    for seconds in moves:
        clock.advance(seconds)
        clock()
    passed = sum(round(seconds * 1e6) for seconds in moves)
    assert (clock.moment(), clock(), jumps) == (passed, AT + timedelta(microseconds=passed), [])


async def test_limits_of_requests_recover_when_the_clock_is_moved():
    clock = MovableClock(AT)
    rate = Rate(0.1, 2, clock.pace)
    assert [rate.wait("caller") for _ in range(2)] == [0, 0] and rate.wait("caller") > 1
    clock.advance(10)
    assert rate.wait("caller") == 0


async def test_threads_are_busy_until_the_event_loop_has_heard_of_their_end():
    threads, loop = CountedThreads(), asyncio.get_running_loop()
    assert not threads.busy
    for work in (lambda: time.sleep(0.01), lambda: 1 / 0):
        job = loop.run_in_executor(threads, work)
        assert threads.busy
        while threads.busy:
            await asyncio.sleep(0)
        assert job.done()
        await asyncio.gather(job, return_exceptions=True)
    threads.shutdown()
