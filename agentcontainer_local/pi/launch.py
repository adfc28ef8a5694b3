"""How Pi is started: its arguments, environment and settings files."""

import json
from collections.abc import Mapping
from typing import Any

from agentcontainer_local.guest_contract import EGRESS_PORT, GATEWAY_PORT, MOUNT, STATE
from agentcontainer_local.pi import models
from agentcontainer_local.store.rows import Task
from agentcontainer_local.store.tasks import Execution

MODELS_FILE, SYSTEM_FILE = f"{STATE}/pi/models.json", f"{STATE}/pi/system.md"

# The provider of our extension: auxiliary calls, such as summaries, use the weak model, all others the main one.
ROUTED = "agentcontainer"

SETTINGS = {
    "cacheWarming": "off",  # otherwise Pi would call the model for half an hour after a run
    # Only Pi retries; the provider's SDK does not. The gateway waits as long as a provider asks, and decides when to
    # stop.
    "retry": {"maxRetries": 5, "baseDelayMs": 2000, "provider": {"maxRetries": 0}},
    "httpIdleTimeoutMs": 604_800_000,  # the gateway handles silent providers, and Pi waits for a host that is away
    "enableInstallTelemetry": False,
    "defaultProjectTrust": "never",
}

# Proxy variables for the agent's tools. Some tools read only upper case, some only lower case. Node ignores both unless
# NODE_USE_ENV_PROXY is set.
_PROXY = f"http://127.0.0.1:{EGRESS_PORT}"
_LOOPBACK = "localhost,127.0.0.1,::1"
PROXY_VARIABLES = {
    **{name: _PROXY for word in ("http_proxy", "https_proxy", "all_proxy") for name in (word, word.upper())},
    "no_proxy": _LOOPBACK,
    "NO_PROXY": _LOOPBACK,
    "NODE_USE_ENV_PROXY": "1",
}


def launch(
    task: Task,
    execution: Execution,
    base_prompt: str,
    harness: str,
    catalog: dict[str, list[str]],
    skills: list[str],
    image_env: Mapping[str, str],
) -> dict[str, Any]:
    """launch.json, which the guest's daemon uses to start Pi (guest contract, version 1).

    `catalog`: the model ids that Pi knows, by provider. Unknown models are declared, because Pi would otherwise run
    another one with a similar name. `image_env` is only for the agent's tools.
    """
    model = models.spelled(execution.provider, execution.model, catalog)
    weak = execution.weak_model and models.spelled(execution.provider, execution.weak_model, catalog)
    if weak == model:
        weak = None
    # in a conversation, the instructions apply to all turns; an autonomous task's are its first message
    system = [base_prompt, harness, *([task["instructions"]] if task["mode"] == "conversation" else [])]
    proxied = task["allowed_hosts"] != "[]"
    return {
        "mode": task["mode"],
        "files": {
            MODELS_FILE: json.dumps(models.document(execution, model, weak, catalog)),
            f"{STATE}/pi/settings.json": json.dumps(SETTINGS | models.compaction(execution)),
            SYSTEM_FILE: "\n\n".join(system),
        },
        "argv": [
            f"{MOUNT}/libexec/node",
            f"{MOUNT}/pi/dist/bundle/cli.js",
            "--mode",
            "rpc",
            "-na",
            "-ne",
            "-ns",
            "-np",
            "--no-themes",
            "-e",
            f"{MOUNT}/guest/extension.mjs",
            "--session-dir",
            f"{STATE}/sessions",
            "--session-id",
            task["id"],
            "--provider",
            ROUTED if weak else execution.provider,
            "--model",
            model,
            "--append-system-prompt",
            SYSTEM_FILE,
            *(["--skill", f"{STATE}/skills/.pi/skills"] if skills else []),
        ],
        "env": {
            "JITI_TRY_NATIVE": "1",  # otherwise Pi loads all of Babel for our extension, which is plain JavaScript
            "PI_CODING_AGENT_DIR": f"{STATE}/pi",
            "PI_OFFLINE": "1",
            "PI_TELEMETRY": "0",
            "PI_SKIP_VERSION_CHECK": "1",
            **({"AC_WEAK_MODEL": weak} if weak else {}),
            **models.tool_limit(execution),
            **(PROXY_VARIABLES if proxied else {}),
        },
        "model": {"provider": execution.provider, "id": model},
        "imageEnv": image_env,
        "gatewayPort": GATEWAY_PORT,
        **({"skills": skills} if skills else {}),
        **({"egressPort": EGRESS_PORT} if proxied else {}),
    }
