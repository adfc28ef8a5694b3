"""Recordings beside scripts: a task with a script follows it, and the calls of all others are recorded or replayed."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from agentcontainer_local.gateway.upstream import Request, Response, Upstream
from agentcontainer_local.providers import PROVIDERS, SETTINGS
from agentcontainer_local.store.tasks import SCRIPTED

NOT_SENT = "not-a-key-of-the-provider"


def wanted(settings: Mapping[str, Any]) -> bool:
    return settings.get("record") is not None or settings.get("replay") is not None


def environ(settings: Mapping[str, Any]) -> dict[str, str]:
    """The providers' variables. A recording needs the real keys, and a replay has its own in their place."""
    if settings.get("record") is not None:
        names = (
            name
            for one in PROVIDERS.values()
            for name in (one.key_variable, *(one.variable(setting) for setting in SETTINGS))
        )
        return {name: os.environ[name] for name in names if name in os.environ}
    return {} if wanted(settings) else {one.key_variable: NOT_SENT for one in PROVIDERS.values()}


def beside(scripted: Upstream, recorded: Upstream, has_script: Callable[[str], bool]) -> Upstream:
    """`scripted` answers tasks that have a script, and those of the scripted model."""

    def asked(request: Request) -> AbstractAsyncContextManager[Response]:
        follows = request.document.get("model") == SCRIPTED or has_script(request.grant.task_id)
        return (scripted if follows else recorded)(request)

    return asked
