"""What Podman does not remember of a task, and the store therefore does."""

from collections.abc import Iterable
from typing import Protocol


class Facts(Protocol):
    @property
    def uid(self) -> int | None:
        """Of its agent, as long as its volumes exist."""
        ...

    @property
    def slot(self) -> str | None:
        """The name of its container, where an earlier version gave it one."""
        ...


class Remembered(Protocol):
    def of(self, task_id: str) -> Facts:
        """Raises LookupError for a task that is not in the store."""
        ...

    def put_uid(self, task_id: str, uid: int) -> None: ...

    def forget(self, task_id: str) -> None:
        """Its volumes are gone."""
        ...

    def uids(self) -> Iterable[tuple[str, int]]:
        """Of all tasks that have one."""
        ...

    def has_slots(self) -> bool:
        """Whether an earlier version has given a task its container's name."""
        ...
