"""Deadlines that are dates: rows, looked at once a second (the only user of APScheduler)."""

import asyncio
from datetime import datetime, timedelta
from typing import NoReturn

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.movable_clock import MovableClock
from agentcontainer_local.store import clock_steps, files, tasks
from agentcontainer_local.store.db import Row

SCAN_SECONDS = 1
TIDY_SECONDS = 30
REMEMBER_SECONDS = 10


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """So many seconds after the run before. APScheduler's own computes each run that a clock set forward has missed."""

    def __init__(self, seconds: float):
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now if previous_fire_time is None else now + self.interval


async def run(host: Host) -> None:
    """Until cancelled."""
    if isinstance(host.now, MovableClock):
        await _whenever_moved(host)
    timers = scheduler(host)
    timers.start()
    try:
        while True:
            await asyncio.sleep(SCAN_SECONDS)  # the event loop's clock is a steady one
            keep_up(timers, host.now())
    finally:
        timers.shutdown(wait=False)


async def _whenever_moved(host: Host) -> NoReturn:
    """APScheduler goes by the machine's clock alone."""
    while True:
        await scan(host)
        while await tidy(host):
            pass
        await remember(host)
        await host.now.look_again(SCAN_SECONDS)


def scheduler(host: Host) -> AsyncIOScheduler:
    """Not started yet. A scan that was missed is not made up for: the next one sees the same rows."""
    timers = AsyncIOScheduler(timezone="UTC")
    for job, seconds in ((scan, SCAN_SECONDS), (tidy, TIDY_SECONDS), (remember, REMEMBER_SECONDS)):
        timers.add_job(job, Every(seconds), args=[host], coalesce=True, max_instances=1, misfire_grace_time=None)
    return timers


def keep_up(timers: AsyncIOScheduler, now: datetime) -> None:
    """APScheduler goes by the wall clock: when that is set back, each job would wait until it is as late again."""
    for job in timers.get_jobs():
        if job.next_run_time - now > job.trigger.interval:
            job.modify(next_run_time=now)


async def scan(host: Host) -> None:
    """Does everything whose time has come."""
    now = host.now()
    files.uploads.forget_expired(host.db, host.files, now)
    tasks.wake_due(host.db, now)
    tasks.expire(host.db, now)
    if tasks.retention.due(host.context, host.crowded):
        host.look_again.set()


async def tidy(host: Host) -> bool:
    """Removes what has been kept for long enough, or is more than is to be kept; answers whether it found any."""
    settings, now = host.settings, host.now()
    over: list[Row] = []
    if settings.retention_days:
        before = clock_steps.steady_date(host.db, now) - timedelta(days=settings.retention_days)
        over = tasks.retention.too_old(host.db, before)
    if not over and settings.retention_bytes is not None:
        over = tasks.retention.too_much(host.db, settings.retention_bytes)
    for task in over:
        await asyncio.sleep(0)  # others are served between them
        while tasks.retention.thin(host.db, task["id"]):
            await asyncio.sleep(0)
        files.discard(host.files, tasks.retention.sweep(host.db, task["id"], now))
    return bool(over)


async def remember(host: Host) -> None:
    """For the next server, which compares its clocks with these."""
    clock_steps.remember(host.db, host.now.read())
