"""What a task's container is kept to: from what was asked for, to the container, to the record, to the words."""

import json
from dataclasses import dataclass, replace

from agentcontainer_local import resource_limits as limits
from agentcontainer_local.resource_limits import MB, Limits
from agentcontainer_local.sandbox import podman
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import Database, Row, row

# Above the limit, so that the watchdog sees a container go beyond it; the kernel then stops it here.
SPARE_PROCESSES = 64
# How far one process gets, where no cgroup keeps memory, in the second before the watchdog looks. Less, and a program
# would be told that there is no memory before anybody has seen that it takes too much.
SPARE_DATA_MB = 4096
KEYS = {"memory": "memory_mb", "disk": "workspace_mb"}  # the sandbox's words → those of the limits
VERBS = {
    "memory_mb": "used {used} MB of memory",
    "workspace_mb": "wrote {used} MB to disk",
    "processes": "had {used} processes and threads",
}


@dataclass(frozen=True)
class Wanted:
    limits: Limits
    isolation: str


def wanted(settings: Settings, db: Database, task: Row) -> Wanted:
    version = row(db, "SELECT defaults FROM agent_versions WHERE id = ?", (task["agent_version_id"],))
    asked = json.loads(version["defaults"]), json.loads(task["overrides"])
    return Wanted(limits.limits(settings, *asked), limits.isolation(settings, *asked))


def around(spec: podman.ContainerSpec, wanted: Wanted) -> podman.ContainerSpec:
    """The container with its limits; raises Unsupported where it cannot be isolated as wanted."""
    limits.require(wanted.isolation, spec.network != "none")
    most = wanted.limits
    ulimits = replace(
        spec.ulimits,
        open_files=most.open_files,
        file_bytes=most.workspace_mb * MB,
        data_bytes=(most.memory_mb + SPARE_DATA_MB) * MB,
    )
    return replace(
        spec,
        isolation=wanted.isolation,
        memory_bytes=most.memory_mb * MB,
        cpus=most.cpus,
        pids=most.processes + SPARE_PROCESSES,
        ulimits=ulimits,
    )


def ceiling(wanted: Wanted) -> podman.Ceiling:
    most = wanted.limits
    return podman.Ceiling(most.memory_mb * MB, most.processes, most.workspace_mb * MB)


def note(spec: podman.ContainerSpec, wanted: Wanted, created: podman.Created) -> str:
    """JSON for the run's row: what this machine enforces of it, and what Podman warned of."""
    by = {KEYS.get(name, name): how for name, how in created.limits.items()}
    values = {**wanted.limits.on_the_wire(), "openFiles": podman.at_most("nofile", wanted.limits.open_files)}
    return json.dumps(
        {
            "isolation": wanted.isolation,
            "network": spec.network,
            "limits": {wire: {"value": values[wire], "by": by[name]} for name, (wire, _) in limits.NAMES.items()},
            "warnings": created.warnings,
        }
    )


def error(broken: podman.Broken) -> str:
    """Why the task was ended, and what to do about it."""
    if broken.limit == "disk_full":
        return (
            f"The disk of this machine is nearly full, and the task, which wrote {broken.used // MB} MB, was ended"
            " as the largest. Make room on the disk, or lower limits.workspaceMb."
        )
    name = KEYS.get(broken.limit, broken.limit)
    unit = 1 if name == "processes" else MB
    did = VERBS[name].format(used=broken.used // unit) if broken.used else "ran out of memory"
    mb = "" if name == "processes" else " MB"
    return f"The task {did}; its limit is {broken.allowed // unit}{mb}. {limits.how_to_raise(name)}"
