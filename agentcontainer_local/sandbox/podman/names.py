"""What the things of a task are called in Podman: made from its store and its task, and never renamed."""

TASK_LABEL = "agentcontainer.task"


def slot_of(store_id: str, task_id: str, slot: str | None) -> str:
    """The container's name, with which its volumes' names begin. `slot`: the one that an earlier version gave it."""
    return slot or f"agentcontainer-{store_id}-{task_id}"


def volumes_of(slot: str) -> tuple[str, str]:
    """The workspace, and Pi's session with its settings."""
    return f"{slot}-work", f"{slot}-state"


def labels(task_id: str) -> dict[str, str]:
    return {TASK_LABEL: task_id}
