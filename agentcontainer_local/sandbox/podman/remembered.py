"""Records which slot a task has. Podman does not know it, so the store keeps it for the next server."""

from collections.abc import Iterable
from typing import Protocol


class Slot(Protocol):
    """A container with its volumes, run directory and uid. It belongs to one task for good."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str:
        """The container's name. The volumes' names begin with it."""
        ...

    @property
    def uid(self) -> int | None:
        """The agent's uid, as long as the volumes exist. None in rows of an earlier version, which did not record
        it."""
        ...


class Remembered(Protocol):
    def slot_of(self, task_id: str) -> Slot | None:
        """The task's slot. None if the task has not started, or if nothing is left of it."""
        ...

    def task_of(self, slot_id: str) -> str | None: ...

    def put(self, task_id: str, slot_id: str, name: str, uid: int) -> None:
        """Gives the slot to this task, or changes its `uid`. Raises LookupError if the store has no such task."""
        ...

    def forget(self, task_id: str) -> None:
        """Deletes the row. Nothing is left of the slot."""
        ...

    def slots(self) -> Iterable[Slot]:
        """The slots of all tasks."""
        ...
