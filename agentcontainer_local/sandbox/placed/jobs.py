"""What the engine says of this store's jobs, asked once for all of them, as often as somebody waits for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from agentcontainer_local.scheduler import Job, Scheduler, State, Unavailable

log = logging.getLogger(__name__)

SOON_SECONDS, LATER_SECONDS = 0.5, 3  # between two looks: while a job is queued, and otherwise
FRESH_SECONDS = 1.0
ALIVE = (State.PENDING, State.RUNNING)


class Jobs:
    """`seen` is called after each look, with all that the engine remembers."""

    def __init__(self, scheduler: Scheduler, seen: Callable[[Mapping[str, Job]], Awaitable[None]]):
        self.scheduler = scheduler
        self._seen = seen
        self._known: Mapping[str, Job] = {}
        self._asked = float("-inf")  # when the last answer was asked for
        self._look = asyncio.Lock()
        self.waiting = 0  # for a job that is queued
        self.away: str | None = None  # why the engine does not answer

    async def run(self) -> None:
        while True:
            try:
                await self.fresh(0)
            except Unavailable:
                pass
            except Exception:
                log.exception("the engine's answer was not understood")
            await asyncio.sleep(SOON_SECONDS if self.waiting else LATER_SECONDS)

    async def fresh(self, seconds: float = FRESH_SECONDS) -> Mapping[str, Job]:
        """By job name, not older than that. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        wanted = loop.time() - seconds
        async with self._look:
            if self._asked < wanted:
                asked = loop.time()
                try:
                    self._known = await self.scheduler.jobs()
                except Unavailable as error:
                    self.away = str(error)
                    raise
                self._asked, self.away = asked, None
                await self._seen(self._known)
            return self._known

    async def node_of(self, name: str) -> str | None:
        """The node on which a job is at work. Raises Unavailable."""
        job = self._known.get(name) or (await self.fresh()).get(name)
        if job is not None and job.state is State.PENDING:
            job = (await self.fresh(0)).get(name)  # it says that it has begun
        return job.node if job is not None and job.state is State.RUNNING else None
