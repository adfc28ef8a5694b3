"""Moves a clock forward: whatever becomes due is done in order, each at its own moment."""

import asyncio
import time

from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.movable_clock import MICROSECOND, MovableClock
from agentcontainer_local.process.threads import CountedThreads
from agentcontainer_local.store import deadlines

PATIENCE_SECONDS = 60  # of the machine's clock, for what agents do at one moment
QUIET_TURNS = 200  # of the event loop: whatever goes on within this process shows itself in far fewer


async def advance(host: Host, clock: MovableClock, seconds: float, threads: CountedThreads | None = None) -> None:
    """Returns when everything is done that became due, what agents of the simulated backend do included.

    `threads`: the event loop's, whose work is waited for. Real containers go on in real time, and are not waited for.
    """
    async with clock.turn:
        with clock.held():
            end = clock.moment() + round(seconds * 1e6)
            await settled(host, threads)
            while clock.moment() < end:
                clock.move_to(min([end, *_due(host, clock)]))
                host.revoked.set()  # a key may have expired: its open streams end
                await settled(host, threads)


def _due(host: Host, clock: MovableClock) -> list[int]:
    """Moments: of the first sleeper, and of the first row."""
    now, found = clock.moment(), [clock.next()]
    if (at := deadlines.upcoming(host.context)) is not None:
        found.append(now + -((host.now() - at) // MICROSECOND))
    return [moment for moment in found if moment is not None]


async def settled(host: Host, threads: CountedThreads | None = None) -> None:
    """Until nobody has anything to do at this moment: the event loop has gone round and round without a change.

    Raises TimeoutError where the agents never come to an end of what they can do.
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
