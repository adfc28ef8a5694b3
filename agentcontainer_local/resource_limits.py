"""Resource limits and isolation of a run: the task's, else the agent's, else the server's.

Names on the wire: `limits` {memoryMb, cpus, processes, openFiles, workspaceMb}, and `isolation`. A MB is 1024 * 1024.
"""

import shutil
from dataclasses import asdict, dataclass
from typing import Any

from agentcontainer_local.environment import variable
from agentcontainer_local.errors import Unsupported
from agentcontainer_local.settings import Settings

MB = 1024**2
CONTAINER, GVISOR = "container", "gvisor"  # weakest first
LEVELS = (CONTAINER, GVISOR)
RUNSC = "runsc"
GVISOR_MISSING = "gVisor is not installed here: as root, run `apt-get install runsc`, and start the server again."

# Ours → (on the wire, the server's setting)
NAMES = {
    "memory_mb": ("memoryMb", "task_memory_mb"),
    "cpus": ("cpus", "task_cpus"),
    "processes": ("processes", "task_processes"),
    "open_files": ("openFiles", "task_open_files"),
    "workspace_mb": ("workspaceMb", "task_workspace_mb"),
}


@dataclass(frozen=True)
class Limits:
    """`cpus` None: all there are. `workspace_mb` counts all that the container writes to disk."""

    memory_mb: int
    cpus: float | None
    processes: int
    open_files: int
    workspace_mb: int

    def on_the_wire(self) -> dict[str, Any]:
        return {NAMES[name][0]: value for name, value in asdict(self).items()}


def limits(settings: Settings, *asked: dict[str, Any]) -> Limits:
    """Of a task: `asked` are the agent version's defaults and the task's overrides, the later wins, limit by limit."""
    given = {name: value for choice in asked for name, value in (choice.get("limits") or {}).items()}
    return Limits(
        **{
            name: given[wire] if given.get(wire) is not None else getattr(settings, setting)
            for name, (wire, setting) in NAMES.items()
        }
    )


def isolation(settings: Settings, *asked: dict[str, Any]) -> str:
    """The strongest that anybody asks for: each is a minimum."""
    return max((settings.isolation, *(choice.get("isolation") or CONTAINER for choice in asked)), key=LEVELS.index)


def require(level: str, internet_access: bool) -> None:
    """Raises Unsupported where this machine cannot isolate a task that far; it is never run with less."""
    if level == CONTAINER:
        return
    if not shutil.which(RUNSC):
        raise Unsupported(f"isolation gvisor: {GVISOR_MISSING}")
    if internet_access:
        raise Unsupported(
            "isolation gvisor is not possible with internetAccess true: gVisor's network could reach the host and local"
            " networks. Set internetAccess to false, or isolation to container."
        )


def how_to_raise(limit: str) -> str:
    """What a message about a broken limit ends with."""
    wire, setting = NAMES[limit]
    return (
        f"Raise limits.{wire} in the task's overrides or the agent's defaults, or {variable(setting)} for all tasks"
        " of this server."
    )
