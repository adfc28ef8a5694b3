"""Names in Podman of a slot's container, volumes and label. They must never change."""

# Its value is the slot's id. Servers of earlier versions, where a task's id was also its slot's id, look for this name
# to see which uids are in use.
SLOT_LABEL = "agentcontainer.task"

UNCLAIMED = "slt_"  # prefix of the ids of slots that were created before their task


def name_of(store_id: str, slot_id: str) -> str:
    """The name of a new slot's container. The names of its volumes begin with it."""
    return f"agentcontainer-{store_id}-{slot_id}"


def volumes_of(name: str) -> tuple[str, str]:
    """The names of two volumes: the workspace, and Pi's session with its settings."""
    return f"{name}-work", f"{name}-state"


def labels(slot_id: str) -> dict[str, str]:
    return {SLOT_LABEL: slot_id}
