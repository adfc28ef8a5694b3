"""What the things of a slot are called in Podman. Names are never changed."""

# Its value is the slot's id. Earlier versions, where each task was its own slot, may serve other stores of this account
# and look for this name to see which uids are in use.
SLOT_LABEL = "agentcontainer.task"

UNCLAIMED = "slt_"  # begins the ids of slots that were made before there was a task for them


def name_of(store_id: str, slot_id: str) -> str:
    """The name of a new slot's container, with which the names of its volumes begin."""
    return f"agentcontainer-{store_id}-{slot_id}"


def volumes_of(name: str) -> tuple[str, str]:
    """The workspace, and Pi's session with its settings."""
    return f"{name}-work", f"{name}-state"


def labels(slot_id: str) -> dict[str, str]:
    return {SLOT_LABEL: slot_id}
