"""A backend within the process, without containers and Pi. It speaks the same guest protocol, in milliseconds."""

from agentcontainer_local.sandbox.simulated.place import Simulated, Simulation
from agentcontainer_local.sandbox.simulated.script import (
    FOLLOW_MODEL,
    Attach,
    Die,
    Exceed,
    Fail,
    Finish,
    FollowModel,
    Hibernate,
    Say,
    Script,
    Scripts,
    Tool,
    Turn,
    Wait,
    script,
)
from agentcontainer_local.sandbox.simulated.shell import Ran

__all__ = [
    "FOLLOW_MODEL",
    "Attach",
    "Die",
    "Exceed",
    "Fail",
    "Finish",
    "FollowModel",
    "Hibernate",
    "Ran",
    "Say",
    "Script",
    "Scripts",
    "Simulated",
    "Simulation",
    "Tool",
    "Turn",
    "Wait",
    "script",
]
