"""Divides a launch into what a running Pi can still be given, and what Pi must be started with.

A slot waits with a Pi that was started for tasks of one kind. It can still be given the instructions, the session, and
which of the models that Pi knows is used. Everything else defines the kind.
"""

import json
from typing import Any

from agentcontainer_local.pi.launch import MODELS_FILE, SYSTEM_FILE

# By provider: a model that Pi knows, for a waiting Pi's first call. `set_model` changes it later.
REHEARSED = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-5", "openrouter": "openai/gpt-5"}
PLAIN = {"baseUrl", "apiKey"}


def kind(launch: dict[str, Any]) -> dict[str, Any] | None:
    """The launch document for a waiting slot that fits this task. Tasks with equal documents are of one kind.

    None if Pi must be started for the task itself: skills are installed before Pi starts, and that can fail.
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
    """Whether Pi knows the model and needs no changes to it. A weak model, and then the main one, belong to the
    kind."""
    [said] = json.loads(launch["files"][MODELS_FILE])["providers"].values()
    return set(said) == PLAIN and "AC_WEAK_MODEL" not in launch["env"] and provider in REHEARSED


def _without(argv: list[str], flag: str) -> list[str]:
    at = argv.index(flag)
    return argv[:at] + argv[at + 2 :]


def _with(argv: list[str], flag: str, value: str) -> list[str]:
    at = argv.index(flag)
    return [*argv[: at + 1], value, *argv[at + 2 :]]
