"""What of a launch can be given to a Pi that is up already, and what it has to be started with.

A slot waits with a Pi that was started for tasks of one kind. Late come: the instructions, the session, and of the
models that Pi knows the one that is used. Everything else is the kind.
"""

import json
from typing import Any

from agentcontainer_local.pi.launch import MODELS_FILE, SYSTEM_FILE

# By provider: a model that Pi knows, with which a waiting Pi makes its first call. `set_model` then changes it.
REHEARSED = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-5", "openrouter": "openai/gpt-5"}
PLAIN = {"baseUrl", "apiKey"}


def kind(launch: dict[str, Any]) -> dict[str, Any] | None:
    """The launch document of a slot that waits for tasks like this one: two tasks are of one kind if it is the same.

    None: Pi can only be started for the task itself. Skills are installed before Pi starts, and may not be had.
    """
    if "skills" in launch:
        return None
    provider = launch["model"]["provider"]
    model = REHEARSED[provider] if _is_known(launch, provider) else launch["model"]["id"]
    return {
        **launch,
        "files": {**launch["files"], SYSTEM_FILE: ""},
        "argv": _with(_without(launch["argv"], "--session-id"), "--model", model),
        "model": {**launch["model"], "id": model},
        "waiting": True,
    }


def _is_known(launch: dict[str, Any], provider: str) -> bool:
    """To Pi, and nothing is to be changed of what it knows. The weak model is part of the kind, and so its main one."""
    [said] = json.loads(launch["files"][MODELS_FILE])["providers"].values()
    return set(said) == PLAIN and "AC_WEAK_MODEL" not in launch["env"] and provider in REHEARSED


def _without(argv: list[str], flag: str) -> list[str]:
    at = argv.index(flag)
    return argv[:at] + argv[at + 2 :]


def _with(argv: list[str], flag: str, value: str) -> list[str]:
    at = argv.index(flag)
    return [*argv[: at + 1], value, *argv[at + 2 :]]
