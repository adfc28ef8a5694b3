"""Whether this machine can run containers at the moment, as last observed."""

import logging
from collections import Counter
from collections.abc import Callable

log = logging.getLogger(__name__)

FIRST_SECONDS, MAX_SECONDS = 1, 15  # pause between two tries; doubles each time
TRIES = 3  # for a task whose start fails for an unknown reason
MAX_START_FAILURES = 5  # failed starts of a task in a row while other tasks start


class Place:
    """The availability of containers. Logs one line for each change, however many tasks wait."""

    def __init__(self, steady: Callable[[], float]):
        self.reason: str | None = None  # why containers can't run; None if they can
        self._steady = steady
        self._in_a_row = 0
        self._retry_at = 0.0
        self._start_failed = self._look_failed = False
        self._tries: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()  # failed starts in a row, by task
        self._others_started: set[str] = set()  # the tasks among them during whose failures another task has started

    def failed(self, reason: str, start: bool = False) -> None:
        """Records a failure. `start`: a container did not start although the checks were fine. Then availability
        returns with a container that starts, or after a while without a try."""
        if self.reason is None:
            log.warning("containers cannot run here at the moment; tasks wait: %s", reason)
        self._start_failed |= start
        self._look_failed |= not start
        if self.reason is not None and self.wait_seconds() > 0:
            return  # the same failure, seen by another task
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
        """How long to wait before the next try, in seconds."""
        return max(0.0, self._retry_at - self._steady())

    def worth_a_try(self, task_id: str) -> bool:
        """Whether a start that failed for an unknown reason is tried again."""
        self._tries[task_id] += 1
        return self._tries[task_id] < TRIES

    def failures(self, task_id: str) -> int:
        return self._failures[task_id]

    def is_the_tasks_own(self, task_id: str) -> bool:
        """Whether this task's start fails again and again while other tasks start. Then it fails, although its error
        looks like the machine's."""
        self._failures[task_id] += 1
        return self._failures[task_id] >= MAX_START_FAILURES and task_id in self._others_started

    def started(self, task_id: str) -> None:
        for counted in (self._tries, self._failures):
            counted.pop(task_id, None)
        self._others_started = set(self._failures)
        self.works()
