"""The faults that are planned, on the server's side: which one is due for a call, an event or a request."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from agentcontainer_local.engine.host import Host
from agentcontainer_local.process import failpoints
from agentcontainer_local.testing.faults.shapes import DiskFault, Fault, HttpFault, KillFault, OfTasks, ProviderFault
from agentcontainer_local.testing.scripts import Script, Task

F = TypeVar("F", bound=OfTasks)
ALL_PAGES = 4_294_967_294  # SQLite's own limit


@dataclass(eq=False)
class Planned:
    """`by_task`: how often it has happened in each task."""

    id: str
    fault: Fault
    happened: int = 0
    by_task: Counter[str] = field(default_factory=Counter)

    def happens(self, task_id: str = "") -> None:
        self.happened += 1
        self.by_task[task_id] += 1


class Plan:
    """`task_of`: what a task is chosen by. `host`: the server that is open now."""

    def __init__(self, task_of: Callable[[str], Task], host: Callable[[], Host]):
        self._task_of, self._host = task_of, host
        self._numbers = itertools.count(1)
        self._calls: Counter[str] = Counter()  # model calls of each task
        self.faults: list[Planned] = []

    def add(self, fault: Fault) -> Planned:
        planned = Planned(f"fault_{next(self._numbers)}", fault)
        self.faults.append(planned)
        if isinstance(fault, DiskFault):
            self._fill()
            planned.happens()
        return planned

    def clear(self) -> None:
        if any(isinstance(planned.fault, DiskFault) for planned in self.faults):
            self._relieve()
        self.faults.clear()

    def reset(self) -> None:
        self.clear()
        self._calls.clear()

    def call(self, task_id: str) -> ProviderFault | None:
        """What happens to the next model call of a task."""
        self._calls[task_id] += 1
        number = self._calls[task_id]
        for planned, fault in self._of_task(ProviderFault, task_id):
            if fault.call <= number < fault.call + fault.times:
                planned.happens(task_id)
                return fault
        return None

    def kill(self, task_id: str) -> tuple[Planned, KillFault] | None:
        """The kill that a task still has before it."""
        left = ((p, f) for p, f in self._of_task(KillFault, task_id) if p.by_task[task_id] < f.times)
        return next(left, None)

    def request(self, matches: Callable[[HttpFault], bool]) -> HttpFault | None:
        """What happens to the next request."""
        for planned in self.faults:
            fault = planned.fault
            if isinstance(fault, HttpFault) and planned.happened < fault.times and matches(fault):
                planned.happens()
                return fault
        return None

    def _of_task(self, kind: type[F], task_id: str) -> Iterator[tuple[Planned, F]]:
        found = [(planned, planned.fault) for planned in self.faults if isinstance(planned.fault, kind)]
        task = self._task_of(task_id) if found else None
        for planned, fault in found:
            if task is not None and _matcher(fault).fits(task):
                yield planned, fault

    def _fill(self) -> None:
        host = self._host()
        failpoints.FULL_DISKS.add(host.settings.data)
        host.db.conn.execute("PRAGMA max_page_count = 1")  # which SQLite takes as: no more than there are

    def _relieve(self) -> None:
        host = self._host()
        failpoints.FULL_DISKS.discard(host.settings.data)
        host.db.conn.execute(f"PRAGMA max_page_count = {ALL_PAGES}")


def _matcher(fault: OfTasks) -> Script:
    """Tasks are chosen as for a script."""
    return Script("", (), True, fault.agent, fault.instructions, fault.model, fault.metadata or {})
