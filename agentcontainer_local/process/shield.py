"""Shields work from cancellation: the cancellation waits for its end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_the_end(work: Awaitable[T]) -> T:
    """Await work that can't be stopped, or must not be left half-done: a cancellation is raised after it has ended.

    However often it is cancelled; then what the work itself raises is not heard, as what ends the caller counts.
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
        task.exception()  # retrieved, so that it is not reported as forgotten
    raise cancelled
