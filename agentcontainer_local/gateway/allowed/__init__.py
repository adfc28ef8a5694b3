"""The allowlist of model calls: only the fields that the pinned version of Pi sends are allowed. One file per API."""

from typing import Any

from agentcontainer_local.gateway.allowed.completions import COMPLETIONS
from agentcontainer_local.gateway.allowed.messages import MESSAGES
from agentcontainer_local.gateway.allowed.responses import RESPONSES
from agentcontainer_local.gateway.allowed.shape import fault, written
from agentcontainer_local.gateway.refusal import forbidden
from agentcontainer_local.gateway.routes import Dialect

BODIES = {"messages": MESSAGES, "count": MESSAGES, "responses": RESPONSES, "completions": COMPLETIONS}


def check_body(dialect: Dialect, body: dict[str, Any]) -> None:
    """Raises a Refusal that names the first field or value that is not allowed."""
    if (found := fault(BODIES[dialect], body)) is None:
        return
    what = "field" if found.unknown else "value of"
    raise forbidden(f"The {what} `{written(found.path)}` is not allowed for this task.")
