"""The timers of a server, which run the scans for deadlines. Only this module uses APScheduler."""

import asyncio
from datetime import datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.timers import SCAN_SECONDS, remember, scan, tidy

TIDY_SECONDS = 30
REMEMBER_SECONDS = 10


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires a fixed time after the previous run. APScheduler's own trigger computes every run that was missed when the
    clock is set forward."""

    def __init__(self, seconds: float):
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now if previous_fire_time is None else now + self.interval


async def run(host: Host) -> None:
    """Runs the timers until it is cancelled."""
    timers = scheduler(host)
    timers.start()
    try:
        while True:
            await asyncio.sleep(SCAN_SECONDS)  # the event loop uses a monotonic clock
            keep_up(timers, host.now())
    finally:
        timers.shutdown(wait=False)


def scheduler(host: Host) -> AsyncIOScheduler:
    """The scheduler, not started yet. Missed scans are not repeated, because the next one sees the same rows."""
    timers = AsyncIOScheduler(timezone="UTC")
    for job, seconds in ((scan, SCAN_SECONDS), (tidy, TIDY_SECONDS), (remember, REMEMBER_SECONDS)):
        timers.add_job(job, Every(seconds), args=[host], coalesce=True, max_instances=1, misfire_grace_time=None)
    return timers


def keep_up(timers: AsyncIOScheduler, now: datetime) -> None:
    """Corrects the timers after the wall clock was set back. APScheduler would wait for the old times."""
    for job in timers.get_jobs():
        if job.next_run_time - now > job.trigger.interval:
            job.modify(next_run_time=now)
