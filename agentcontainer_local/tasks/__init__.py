"""Tasks: dispatching them, the one way their status changes, and how they look on the wire."""

from agentcontainer_local.tasks.dispatch import dispatch
from agentcontainer_local.tasks.execution import Execution, execution
from agentcontainer_local.tasks.rows import ended_with_workspace, inputs, outputs, owned, page, with_status
from agentcontainer_local.tasks.rows import get as get
from agentcontainer_local.tasks.runs import begin_run, end_run, open_run
from agentcontainer_local.tasks.shape import shape
from agentcontainer_local.tasks.transitions import apply, cancel, container_ms, died
from agentcontainer_local.tasks.usage import record_usage

__all__ = [
    "Execution", "apply", "begin_run", "cancel", "container_ms", "died", "dispatch", "end_run", "ended_with_workspace",
    "execution", "get", "inputs", "open_run", "outputs", "owned", "page", "record_usage", "shape", "with_status",
]
