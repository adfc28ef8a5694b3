"""What the things of a run are called: made from the task alone, and never renamed."""

from pathlib import Path

from agentcontainer_local.host import Host

TASK_LABEL = "agentcontainer.task"


def name_of(task_id: str) -> str:
    return f"agentcontainer-{task_id}"


def volumes_of(task_id: str) -> tuple[str, str]:
    """The workspace, and Pi's session with its settings."""
    return f"agentcontainer-{task_id}-work", f"agentcontainer-{task_id}-state"


def labels(task_id: str) -> dict[str, str]:
    return {TASK_LABEL: task_id}


def directory_of(host: Host, task_id: str) -> Path:
    return host.runtime_dir / "runs" / task_id


def directory_for(host: Host, task_id: str) -> Path:
    """What the container mounts; made again where a reboot has taken it."""
    directory = directory_of(host, task_id)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    directory.chmod(0o711)
    return directory
