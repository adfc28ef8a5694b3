"""Worker threads that are none: whatever is done in them has always the same place among everything else."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from agentcontainer_local.process.threads import CountedThreads

T = TypeVar("T")


class InlineThreads(CountedThreads):
    """Work is done when it is submitted; the event loop waits for it."""

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
