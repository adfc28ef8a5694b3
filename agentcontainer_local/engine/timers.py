"""Deadlines: dates in rows, checked once a second."""

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
    """Runs until it is cancelled. APScheduler is imported in a thread, because it searches all installed packages."""
    if isinstance(host.now, MovableClock):
        await _whenever_moved(host)
    await asyncio.to_thread(importlib.import_module, "agentcontainer_local.engine.schedule")
    from agentcontainer_local.engine import schedule

    await schedule.run(host)


async def _whenever_moved(host: Host) -> NoReturn:
    """Runs the scans whenever the clock moves, because APScheduler only uses the machine's clock."""
    while True:
        for job in (scan, _tidied, remember):
            try:
                await job(host)
            except Exception:  # the next run may succeed; APScheduler does the same
                log.exception("a timer failed: %s", job.__name__)
        await host.now.look_again(SCAN_SECONDS)


async def _tidied(host: Host) -> None:
    while await tidy(host):
        pass


async def scan(host: Host) -> None:
    """Handles everything that is due."""
    now = host.now()
    files.uploads.forget_expired(host.db, host.files, now)
    tasks.wake_due(host.db, now)
    tasks.expire(host.db, now)
    if tasks.retention.due(host.context, host.crowded):
        host.look_again.set()


async def tidy(host: Host) -> bool:
    """Removes data of ended tasks that exceeds a retention limit. Returns whether there was any."""
    settings, now = host.settings, host.now()
    over: list[Row] = []
    if settings.retention_days:
        before = clock_steps.steady_date(host.db, now) - timedelta(days=settings.retention_days)
        over = tasks.retention.too_old(host.db, before)
    if not over and settings.retention_bytes is not None:
        over = tasks.retention.too_much(host.db, settings.retention_bytes)
    for task in over:
        await asyncio.sleep(0)  # lets other work proceed in between
        while tasks.retention.thin(host.db, task["id"]):
            await asyncio.sleep(0)
        files.discard(host.files, tasks.retention.sweep(host.db, task["id"], now))
    return bool(over)


async def remember(host: Host) -> None:
    """Stores the clocks' reading for the next server, which compares it with its own."""
    clock_steps.remember(host.db, host.now.read())
