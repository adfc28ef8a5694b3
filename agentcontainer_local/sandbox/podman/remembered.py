"""Which slot a task has: Podman does not know it, so the store remembers it for the next server."""

from collections.abc import Iterable
from typing import Protocol


class Slot(Protocol):
    """A container with its volumes, its run directory and its uid. One task's, and never another's."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str:
        """The container's, with which the names of its volumes begin."""
        ...

    @property
    def uid(self) -> int | None:
        """Its agent's, as long as its volumes exist. None: an earlier version had none to give."""
        ...


class Remembered(Protocol):
    def slot_of(self, task_id: str) -> Slot | None:
        """None: the task has not begun to start, or nothing is left of it."""
        ...

    def task_of(self, slot_id: str) -> str | None: ...

    def put(self, task_id: str, slot_id: str, name: str, uid: int) -> None:
        """The slot is this task's from now on; `uid` may be new. Raises LookupError for a task that is not in the
        store."""
        ...

    def forget(self, task_id: str) -> None:
        """Nothing is left of its slot."""
        ...

    def slots(self) -> Iterable[Slot]:
        """Of all tasks that have one."""
        ...
