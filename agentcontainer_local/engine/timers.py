"""Deadlines that are dates: rows, looked at once a second."""

import asyncio
import importlib
import logging
from datetime import timedelta
from typing import NoReturn

from agentcontainer_local.engine.host import Host
from agentcontainer_local.process.movable_clock import MovableClock
from agentcontainer_local.store import clock_steps, files, tasks
from agentcontainer_local.store.db import Row

log = logging.getLogger(__name__)

SCAN_SECONDS = 1


async def run(host: Host) -> None:
    """Until cancelled. APScheduler looks through all installed packages when it is loaded: that is done in a thread."""
    if isinstance(host.now, MovableClock):
        await _whenever_moved(host)
    await asyncio.to_thread(importlib.import_module, "agentcontainer_local.engine.schedule")
    from agentcontainer_local.engine import schedule

    await schedule.run(host)


async def _whenever_moved(host: Host) -> NoReturn:
    """APScheduler goes by the machine's clock alone."""
    while True:
        for job in (scan, _tidied, remember):
            try:
                await job(host)
            except Exception:  # as APScheduler does: the next look may go well
                log.exception("a timer failed: %s", job.__name__)
        await host.now.look_again(SCAN_SECONDS)


async def _tidied(host: Host) -> None:
    while await tidy(host):
        pass


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
