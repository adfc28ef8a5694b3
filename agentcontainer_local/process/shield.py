"""Shields work from cancellation: the cancellation takes effect when the work has ended."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Awaits work that can't be stopped or must not be left incomplete. A cancellation is raised after the work has
    ended.

    This holds for repeated cancellations too. If it was cancelled, an exception of the work is dropped.
    """
    task, cancelled = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # marks the exception as retrieved
    raise cancelled
