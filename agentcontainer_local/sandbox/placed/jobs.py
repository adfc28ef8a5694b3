"""Queries the scheduler for this store's jobs, with one query for all of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from agentcontainer_local.scheduler import Job, Scheduler, State, Unavailable

log = logging.getLogger(__name__)

SOON_SECONDS, LATER_SECONDS = 0.5, 3  # between two queries: while a job is queued, and otherwise
ALIVE = (State.PENDING, State.RUNNING)


class Jobs:
    """The scheduler's jobs. `seen` is called after each query, with all jobs that the scheduler remembers."""

    def __init__(self, scheduler: Scheduler, seen: Callable[[Mapping[str, Job]], Awaitable[None]]):
        self.scheduler = scheduler
        self._seen = seen
        self._known: Mapping[str, Job] = {}
        self._asked = float("-inf")  # the time of the last query
        self._look = asyncio.Lock()
        self.waiting = 0  # number of queued jobs that somebody waits for

    async def run(self) -> None:
        while True:
            try:
                await self.fresh()
            except Unavailable:
                pass
            except Exception:
                log.exception("the engine's answer could not be parsed")
            await asyncio.sleep(SOON_SECONDS if self.waiting else LATER_SECONDS)

    async def fresh(self) -> Mapping[str, Job]:
        """The jobs by name, from a query that begins after this call; callers that wait share one. Raises
        Unavailable."""
        loop = asyncio.get_running_loop()
        wanted = loop.time()
        async with self._look:
            if self._asked < wanted:
                asked = loop.time()
                self._known = await self.scheduler.jobs()
                self._asked = asked
                await self._seen(self._known)
            return self._known

    async def node_of(self, name: str) -> str | None:
        """The node on which a job runs, or None. Raises Unavailable."""
        job = self._known.get(name)
        if job is None or job.state is not State.RUNNING:  # it may have begun since
            job = (await self.fresh()).get(name)
        return job.node if job is not None and job.state is State.RUNNING else None
