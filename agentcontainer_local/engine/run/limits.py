"""The limits of a run, and the error for a run that exceeds one."""

import json
from typing import NamedTuple

from agentcontainer_local import resource_limits
from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.sandbox.backend import Broken
from agentcontainer_local.settings import Settings
from agentcontainer_local.store.db import Database, single
from agentcontainer_local.store.rows import Task

VERBS = {
    "memory_mb": "used {used} MB of memory",
    "workspace_mb": "wrote {used} MB to disk",
    "processes": "had {used} processes and threads",
}


class Wanted(NamedTuple):
    limits: Limits
    isolation: str


def wanted(settings: Settings, db: Database, task: Task) -> Wanted:
    version = single(db, "SELECT defaults FROM agent_versions WHERE id = ?", (task["agent_version_id"],))
    asked = json.loads(version["defaults"]), json.loads(task["overrides"])
    return Wanted(resource_limits.limits(settings, *asked), resource_limits.isolation(settings, *asked))


def error(broken: Broken) -> str:
    """Why the task was ended, and how to avoid it."""
    if broken.limit == "disk_full":
        return (
            f"The disk of this machine is nearly full, and the task, which wrote {broken.used} MB, was ended as the"
            " largest. Make room on the disk, or lower limits.workspaceMb."
        )
    did = VERBS[broken.limit].format(used=broken.used) if broken.used else "ran out of memory"
    mb = "" if broken.limit == "processes" else " MB"
    return f"The task {did}; its limit is {broken.allowed}{mb}. {resource_limits.how_to_raise(broken.limit)}"
