"""Moves the clock forward. Everything that becomes due is done in order, each at its own time."""

import asyncio
import time

from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.movable_clock import MICROSECOND, MovableClock
from agentcontainer_local.process.threads import CountedThreads
from agentcontainer_local.store import deadlines

PATIENCE_SECONDS = 60  # on the machine's clock, for the agents to complete what they do at one moment
QUIET_TURNS = 200  # iterations of the event loop; activity within this process shows in far fewer


async def advance(host: Host, clock: MovableClock, seconds: float, threads: CountedThreads | None = None) -> None:
    """Returns when everything that became due is done, including what agents of the simulated backend do.

    `threads`: the event loop's threads, whose work is awaited. Real containers run in real time and are not awaited.
    """
    async with clock.turn:
        with clock.held():
            end = clock.moment() + round(seconds * 1e6)
            await settled(host, threads)
            while clock.moment() < end:
                clock.move_to(min([end, *_due(host, clock)]))
                host.revoked.set()  # a key may have expired; then its open streams end
                await settled(host, threads)


def _due(host: Host, clock: MovableClock) -> list[int]:
    """The moments of the first sleeper and of the first due row."""
    now, found = clock.moment(), [clock.next()]
    if (at := deadlines.upcoming(host.context)) is not None:
        found.append(now + -((host.now() - at) // MICROSECOND))
    return [moment for moment in found if moment is not None]


async def settled(host: Host, threads: CountedThreads | None = None) -> None:
    """Waits until there is nothing left to do at this moment: the event loop made many iterations without a change.

    Raises TimeoutError if the agents do not come to rest.
    """
    quiet, give_up_at = 0, time.monotonic() + PATIENCE_SECONDS
    while quiet < QUIET_TURNS:
        if time.monotonic() > give_up_at:
            raise TimeoutError(
                f"The server's agents are still at work after {PATIENCE_SECONDS} s. Let them wait or finish."
            )
        marks = host.changed.mark(), host.called.mark(), host.settled.mark(), host.look_again.mark()
        await asyncio.sleep(0)
        busy = threads is not None and threads.busy
        if busy:
            await asyncio.sleep(0.0005)
        quiet = 0 if busy or any(mark.done() for mark in marks) else quiet + 1
