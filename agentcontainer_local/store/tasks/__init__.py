"""Tasks: creating them, changing their status, and showing them in the API."""

from agentcontainer_local.store.tasks import budget as budget
from agentcontainer_local.store.tasks import retention as retention
from agentcontainer_local.store.tasks import runs as runs
from agentcontainer_local.store.tasks.budget import (
    Counts,
    Refused,
    Reserved,
    Usage,
    Worst,
    capped,
    reserve,
    settle,
    settle_leftovers,
)
from agentcontainer_local.store.tasks.conversation import end_turn, expire, say, switch, turn_runs
from agentcontainer_local.store.tasks.dispatch import dispatch
from agentcontainer_local.store.tasks.hibernation import sleep, wake, wake_due
from agentcontainer_local.store.tasks.model_calls import call_shape, call_status, calls, failed_before, reached
from agentcontainer_local.store.tasks.provider_choice import LOST_KEY, SCRIPTED, Execution, execution
from agentcontainer_local.store.tasks.remembered import Remembered
from agentcontainer_local.store.tasks.responses import message_shape, shape
from agentcontainer_local.store.tasks.rows import (
    each_whole,
    ended_with_container,
    ended_with_workspace,
    idle,
    inputs,
    output,
    outputs,
    owned,
    owned_whole,
    page,
    pending,
    rename,
    with_status,
)
from agentcontainer_local.store.tasks.rows import get as get
from agentcontainer_local.store.tasks.runs import at_work, begin_run, end_run, fits, is_first_run, open_run
from agentcontainer_local.store.tasks.transitions import apply, cancel, container_ms, died
from agentcontainer_local.store.tasks.usage import token_usage, token_usages, written_tokens
from agentcontainer_local.store.tasks.window import learn_window

__all__ = [
    "LOST_KEY",
    "SCRIPTED",
    "Execution",
    "Counts",
    "Refused",
    "Remembered",
    "Reserved",
    "Usage",
    "Worst",
    "apply",
    "at_work",
    "begin_run",
    "call_shape",
    "call_status",
    "calls",
    "cancel",
    "capped",
    "container_ms",
    "died",
    "dispatch",
    "each_whole",
    "end_run",
    "end_turn",
    "ended_with_container",
    "ended_with_workspace",
    "execution",
    "expire",
    "failed_before",
    "fits",
    "get",
    "idle",
    "inputs",
    "is_first_run",
    "learn_window",
    "message_shape",
    "open_run",
    "output",
    "outputs",
    "owned",
    "owned_whole",
    "page",
    "pending",
    "reached",
    "rename",
    "reserve",
    "say",
    "settle",
    "settle_leftovers",
    "shape",
    "sleep",
    "switch",
    "token_usage",
    "token_usages",
    "turn_runs",
    "wake",
    "wake_due",
    "with_status",
    "written_tokens",
]
