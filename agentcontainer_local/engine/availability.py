"""Whether this machine can run containers at the moment, as the server found out last."""

import logging
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_SECONDS, MAX_SECONDS = 1, 15  # between two tries, each time twice as long
TRIES = 3  # for a task whose start fails, where it is not known whose fault that is
MAX_START_FAILURES = 5  # of a task's start in a row, while other tasks start


class Place:
    """One line is logged for each change of state, however many tasks wait."""

    def __init__(self, steady: Callable[[], float]):
        self.reason: str | None = None  # why it cannot; None while it can
        self._steady = steady
        self._in_a_row = 0
        self._retry_at = 0.0
        self._start_failed = self._look_failed = False
        self._tries: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()  # by task, in a row
        self._outlived: set[str] = set()  # of these: another task has started since

    def failed(self, reason: str, start: bool = False) -> None:
        """`start`: a container did not start, although all looked well. Then only one that does start, or a while in
        which none was tried, says that all is well again."""
        if self.reason is None:
            log.warning("containers cannot run here at the moment; tasks wait: %s", reason)
        self._start_failed |= start
        self._look_failed |= not start
        if self.reason is not None and self.wait_seconds() > 0:
            return  # of the same try as others
        self.reason = reason
        self._retry_at = self._steady() + min(MAX_SECONDS, FIRST_SECONDS * 2**self._in_a_row)
        self._in_a_row += 1

    def looks_well(self) -> None:
        if self._look_failed or not self._start_failed or self._steady() > self._retry_at + MAX_SECONDS:
            self.works()

    def works(self) -> None:
        if self.reason is not None:
            log.warning("containers can run here again")
        self.reason, self._in_a_row, self._retry_at = None, 0, 0.0
        self._start_failed = self._look_failed = False

    def wait_seconds(self) -> float:
        """How long nothing is to be tried."""
        return max(0.0, self._retry_at - self._steady())

    def worth_a_try(self, task_id: str) -> bool:
        """Whether a start that failed for an unknown reason is tried again."""
        self._tries[task_id] += 1
        return self._tries[task_id] < TRIES

    def failures(self, task_id: str) -> int:
        return self._failures[task_id]

    def is_the_tasks_own(self, task_id: str) -> bool:
        """Its start failed as if this machine could do none; but others start, while it fails again and again."""
        self._failures[task_id] += 1
        return self._failures[task_id] >= MAX_START_FAILURES and task_id in self._outlived

    def started(self, task_id: str) -> None:
        for counted in (self._tries, self._failures):
            counted.pop(task_id, None)
        self._outlived = set(self._failures)
        self.works()
