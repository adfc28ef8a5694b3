"""A thread pool for the event loop that knows whether it is busy."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class CountedThreads(ThreadPoolExecutor):
    """Create it on the event loop that uses it."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="worker")
        self._loop = asyncio.get_running_loop()
        self._at_work = 0

    @property
    def busy(self) -> bool:
        """Whether there is work whose end the event loop has not noticed yet."""
        return self._at_work > 0

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = super().submit(work, *args, **kwargs)
        self._at_work += 1
        self._loop.call_soon(future.add_done_callback, self._tell)  # after the callback of the caller
        return future

    def _tell(self, _: Future[Any]) -> None:
        self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._at_work -= 1
