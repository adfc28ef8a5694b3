"""What the things of a run are called: made from its store and its task, and never renamed."""

from pathlib import Path

from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import Row

TASK_LABEL = "agentcontainer.task"


def slot_of(store_id: str, task: Row) -> str:
    """A task's place in Podman: a container and its volumes. An earlier version named it after the task alone."""
    return task["slot"] or f"agentcontainer-{store_id}-{task['id']}"


def volumes_of(slot: str) -> tuple[str, str]:
    """The workspace, and Pi's session with its settings."""
    return f"{slot}-work", f"{slot}-state"


def name_of(host: Host, task_id: str) -> str:
    """The container's."""
    return slot_of(host.store_id, tasks.get(host.db, task_id))


def labels(task_id: str) -> dict[str, str]:
    return {TASK_LABEL: task_id}


def directory_of(host: Host, task_id: str) -> Path:
    return host.runtime_dir / "runs" / task_id


def directory_for(host: Host, task_id: str) -> Path:
    """What the container mounts; made again where a reboot has taken it. Raises OSError where all above it is gone."""
    directory = directory_of(host, task_id)
    directory.parent.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(exist_ok=True)
    directory.chmod(0o711)
    return directory
