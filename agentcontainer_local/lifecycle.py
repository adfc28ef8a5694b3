"""The states of a task: which event leads from which status to which, as one table."""

from agentcontainer_local.errors import Conflict

PENDING, RUNNING, AWAITING_INPUT, HIBERNATING = "pending", "running", "awaiting_input", "hibernating"
FINISHED, FAILED, CANCELLED, EXPIRED = "finished", "failed", "cancelled", "expired"

STATUSES = (PENDING, RUNNING, AWAITING_INPUT, HIBERNATING, FINISHED, FAILED, CANCELLED, EXPIRED)
TERMINAL = frozenset({FINISHED, FAILED, CANCELLED, EXPIRED})

# A message finds the container alive, with a Pi that fits (→ running), or not (messaged_cold → pending).
TABLE: dict[tuple[str, str], str] = {
    (PENDING, "started"): RUNNING,
    (PENDING, "cancelled"): CANCELLED,
    (PENDING, "failed"): FAILED,
    (RUNNING, "finished"): FINISHED,
    (RUNNING, "turn_ended"): AWAITING_INPUT,
    (RUNNING, "slept"): HIBERNATING,
    (RUNNING, "interrupted"): PENDING,
    (RUNNING, "failed"): FAILED,
    (RUNNING, "cancelled"): CANCELLED,
    (AWAITING_INPUT, "messaged"): RUNNING,
    (AWAITING_INPUT, "messaged_cold"): PENDING,
    (AWAITING_INPUT, "switched"): PENDING,
    (AWAITING_INPUT, "expired"): EXPIRED,
    (AWAITING_INPUT, "cancelled"): CANCELLED,
    (AWAITING_INPUT, "failed"): FAILED,
    (HIBERNATING, "woken"): PENDING,
    (HIBERNATING, "cancelled"): CANCELLED,
    (HIBERNATING, "failed"): FAILED,
}
EVENTS = frozenset(event for _, event in TABLE)


class IllegalMove(Conflict):
    """The event does not lead anywhere from this status; nothing was changed."""


def after(status: str, event: str) -> str:
    """The status that `event` leads to from `status`; raises IllegalMove, and nothing happens."""
    try:
        return TABLE[status, event]
    except KeyError:
        raise IllegalMove(f"A task that is {status} can't be {event.removesuffix('_cold')}.", status=status) from None
