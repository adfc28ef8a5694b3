"""Deadlines that are dates: rows, looked at once a second (the only user of APScheduler)."""

import asyncio
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agentcontainer_local import files, tasks
from agentcontainer_local.db import Row
from agentcontainer_local.host import Host

SCAN_SECONDS = 1
TIDY_SECONDS = 30


def scheduler(host: Host) -> AsyncIOScheduler:
    """Not started yet. A scan that was missed is not made up for: the next one sees the same rows."""
    timers = AsyncIOScheduler(timezone="UTC")
    timers.add_job(scan, "interval", seconds=SCAN_SECONDS, args=[host], coalesce=True, max_instances=1,
                   misfire_grace_time=None)
    timers.add_job(tidy, "interval", seconds=TIDY_SECONDS, args=[host], coalesce=True, max_instances=1,
                   misfire_grace_time=None, next_run_time=host.now())
    return timers


async def scan(host: Host) -> None:
    """Does everything whose time has come."""
    now = host.now()
    files.uploads.forget_expired(host.db, host.files, now)
    woken, expired = tasks.wake_due(host.db, now), tasks.expire(host.db, now)
    kept = timedelta(seconds=host.settings.workspace_retention_seconds)
    over = tasks.retention.workspaces(host.db, now, kept, host.crowded)
    if changed := [task["id"] for task in (*woken, *expired, *over)]:
        host.changed.set(*changed)


async def tidy(host: Host) -> None:
    """Removes what has been kept for long enough, or is more than is to be kept."""
    settings, now = host.settings, host.now()
    over: list[Row] = []
    if settings.retention_days:
        over = tasks.retention.too_old(host.db, now - timedelta(days=settings.retention_days))
    if not over and settings.retention_bytes is not None:
        over = tasks.retention.too_much(host.db, settings.retention_bytes)
    for task in over:
        await asyncio.sleep(0)      # others are served between them
        files.discard(host.files, tasks.retention.sweep(host.db, task["id"], now))
