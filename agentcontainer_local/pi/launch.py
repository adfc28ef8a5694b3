"""How Pi is started, and what it is told."""

import json
import re

from agentcontainer_local.store.db import Row
from agentcontainer_local.store.model_settings import UNSAID_WINDOW, Model
from agentcontainer_local.store.tasks import Execution

MOUNT = "/opt/agentcontainer"
STATE = "/var/lib/agentcontainer"
GATEWAY_PORT = 7411
EGRESS_PORT = 7412

GATEWAY_PATHS = {"anthropic": "anthropic", "openai": "openai/v1", "openrouter": "openrouter/api/v1"}
# Our extension's provider: auxiliary calls, like those for summaries, go to the weak model, all others to the main one.
ROUTED = "agentcontainer"
PI_APIS = {"messages": "anthropic-messages", "responses": "openai-responses", "chat-completions": "openai-completions"}
UNSAID_OUTPUT = 16_384
SMALL_WINDOW = 65_536
APIS = {"anthropic": "anthropic-messages", "openai": "openai-responses", "openrouter": "openai-completions"}

SETTINGS = {
    "cacheWarming": "off",  # else Pi calls the model by itself for half an hour after a run
    # One layer: the provider's SDK repeats nothing. The gateway waits as long as a provider asks for, and ends the row.
    "retry": {"maxRetries": 5, "baseDelayMs": 2000, "provider": {"maxRetries": 0}},
    "httpIdleTimeoutMs": 604_800_000,  # the gateway watches over a silent provider; a host that is away is waited for
    "enableInstallTelemetry": False,
    "defaultProjectTrust": "never",
}

# For the agent's tools, in both spellings, since some know only one; Node looks at them only when it is told to.
_PROXY = f"http://127.0.0.1:{EGRESS_PORT}"
_LOOPBACK = "localhost,127.0.0.1,::1"
PROXY_VARIABLES = {
    **{name: _PROXY for word in ("http_proxy", "https_proxy", "all_proxy") for name in (word, word.upper())},
    "no_proxy": _LOOPBACK,
    "NO_PROXY": _LOOPBACK,
    "NODE_USE_ENV_PROXY": "1",
}

WITH_FILES = "\n\n---\nFiles that came with this message:"
FOOTER = "\n\n---\nThis text is also in ~/TASK.md; ~/task/HARNESS.md says how work is done here and how it is ended."
RESUME = (
    "The run was interrupted and has been started again. Your files are as they were; the last command may not have"
    " completed, and programs that ran in the background are gone. Go on with the task."
)
TELL = {
    "deadline": "You were woken: the time until which you wanted to hibernate has come. Go on with the task.",
    "external_wake": "You were woken from hibernation by an event outside. Look at what has changed, and go on.",
    "switched": "From now on nobody answers you: go on by yourself until the work is done, then call `finish`.",
}
WOKEN_BY_MESSAGE = "You were woken from hibernation by this message:\n\n"
NUDGE = (
    "You stopped without calling `finish`. The task ends only by it: call it now, with --complete-task if the work is"
    " done, or with --incomplete-task and what is missing."
)
WRAP_UP = (
    "The time for this task is nearly over. Wrap up now: leave what is not needed, and call `finish` with what you have"
    " (with --incomplete-task if something is missing)."
)
BUDGET_SOON = {
    "autonomous": "Most of what this task may spend on model calls is used. Leave what is not needed, and call `finish`"
    " soon with what you have (with --incomplete-task if something is missing).",
    "conversation": "Most of what may be spent on model calls is used: keep to what is needed, and answer soon.",
}
BUDGET_OUT = {
    "autonomous": "What this task may spend on model calls is used up, but for a last small part that is kept for"
    " ending it. Do nothing more but call `finish` with what you have (with --incomplete-task if"
    " something is missing).",
    "conversation": "What may be spent on model calls is used up, but for a last small part. Answer now, in a few"
    " words, with what you have.",
}


def launch(
    task: Row,
    execution: Execution,
    base_prompt: str,
    harness: str,
    catalog: dict[str, list[str]],
    skills: list[str],
    image_env: dict[str, str],
) -> dict:
    """launch.json: what the guest daemon writes and starts (guest contract, version 1).

    `catalog`: the ids that Pi knows, by provider. One that it does not know is made known, since Pi would otherwise
    run another model whose name looks like it. `image_env` is for the agent's tools alone.
    """
    model = spelled(execution.provider, execution.model, catalog)
    weak = execution.weak_model and spelled(execution.provider, execution.weak_model, catalog)
    if weak == model:
        weak = None
    # A conversation's instructions hold for all of it; an autonomous task's are its first message.
    system = [base_prompt, harness, *([task["instructions"]] if task["mode"] == "conversation" else [])]
    proxied = task["allowed_hosts"] != "[]"
    return {
        "mode": task["mode"],
        "files": {
            f"{STATE}/pi/models.json": json.dumps(_models(execution, model, weak, catalog)),
            f"{STATE}/pi/settings.json": json.dumps(SETTINGS | _compaction(execution)),
            f"{STATE}/pi/system.md": "\n\n".join(system),
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
            f"{STATE}/pi/system.md",
            *(["--skill", f"{STATE}/skills/.pi/skills"] if skills else []),
        ],
        "env": {
            "JITI_TRY_NATIVE": "1",  # else Pi loads all of Babel for our extension, which is plain JavaScript
            "PI_CODING_AGENT_DIR": f"{STATE}/pi",
            "PI_OFFLINE": "1",
            "PI_TELEMETRY": "0",
            "PI_SKIP_VERSION_CHECK": "1",
            **({"AC_WEAK_MODEL": weak} if weak else {}),
            **_limited(execution),
            **(PROXY_VARIABLES if proxied else {}),
        },
        "model": {"provider": execution.provider, "id": model},
        "imageEnv": image_env,
        "gatewayPort": GATEWAY_PORT,
        **({"skills": skills} if skills else {}),
        **({"egressPort": EGRESS_PORT} if proxied else {}),
    }


REFUSED = re.compile(r'"type":\s*"permission_error"')
STATUS = re.compile(r"^(?:[\w ]+ API error )?\(?\d{3}\)?:? (?=\{)")


def refused(error: str | None) -> str | None:
    """The gateway's own words, if Pi's error is that the gateway refused a call."""
    return plain(error) if error and REFUSED.search(error) else None


def plain(error: str) -> str:
    """Pi's error without the status and the JSON that it puts around a message."""
    if not (status := STATUS.match(error)):
        return error
    try:
        document = json.loads(error[status.end() :])
    except (ValueError, RecursionError):
        return error
    message = (document.get("error") or document).get("message") if isinstance(document, dict) else None
    return message if isinstance(message, str) and message else error


def spelled(provider: str, model: str, catalog: dict[str, list[str]]) -> str:
    """As asked, but for Anthropic's dotted versions, which its API and Pi's catalog spell with dashes."""
    dashed = model.replace(".", "-")
    known = catalog.get(provider, [])
    return dashed if provider == "anthropic" and model not in known and dashed in known else model


def _models(execution: Execution, model: str, weak: str | None, catalog: dict[str, list[str]]) -> dict:
    """models.json: only this provider, at the gateway, with what Pi does not know of itself, or knows otherwise."""
    provider = execution.provider
    known, whole, changed = catalog.get(provider, []), [], {}
    for id, asked in ((model, execution.model), (weak, execution.weak_model)):
        if id is None:
            continue
        settings, api = execution.settings.get(asked, Model()), _api(execution, id)
        if id not in known or api is not None:
            whole.append(_whole(provider, id, api, settings, id in known))
        elif change := _change(settings):
            changed[id] = change
    path = GATEWAY_PATHS[provider]
    if provider == "anthropic" and execution.api not in (None, "messages"):
        path += "/v1"  # OpenAI's SDK takes it with that
    gateway = {"baseUrl": f"http://127.0.0.1:{GATEWAY_PORT}/{path}", "apiKey": "none"}
    extra = {**({"models": whole} if whole else {}), **({"modelOverrides": changed} if changed else {})}
    return {"providers": {provider: gateway | extra}}


def _api(execution: Execution, id: str) -> str | None:
    """The one that was set. Relays in OpenRouter's place lack Anthropic's, which Pi would use for Claude's models."""
    if execution.api is not None:
        return PI_APIS[execution.api]
    relayed = execution.provider == "openrouter" and execution.own_address and id.startswith("anthropic/")
    return APIS["openrouter"] if relayed else None


def _whole(provider: str, id: str, api: str | None, settings: Model, known: bool) -> dict:
    """A model that Pi does not know, or not with this API; where nothing is set, with figures that most models keep.
    Nearly all that are known take images; of the others nobody knows it."""
    most = _most_output(settings) or UNSAID_OUTPUT
    return {
        "id": id,
        "api": api or APIS[provider],
        "reasoning": False,
        "contextWindow": UNSAID_WINDOW,
        "maxTokens": most,
        "input": ["text", "image"] if known else ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        **_change(settings),
    }


def _change(settings: Model) -> dict:
    found = {"contextWindow": settings.context_window, "maxTokens": _most_output(settings)}
    inputs = {} if settings.images is None else {"input": ["text", "image"] if settings.images else ["text"]}
    return {name: value for name, value in found.items() if value is not None} | inputs


def _most_output(settings: Model) -> int | None:
    """The longest answer: at most a quarter of a known context window, so that the prompt has room."""
    if settings.context_window is None:
        return settings.max_output_tokens
    return min(settings.max_output_tokens or UNSAID_OUTPUT, settings.context_window // 4)


def _compaction(execution: Execution) -> dict:
    """Pi keeps 20,000 tokens of a history that it shortens, and starts 16,384 before the window's end: too much for a
    small one."""
    window = execution.settings.get(execution.model, Model()).context_window
    if window is None:
        return {}
    return {"compaction": {"reserveTokens": min(16_384, window // 4), "keepRecentTokens": min(20_000, window // 4)}}


def _limited(execution: Execution) -> dict[str, str]:
    """What one tool may answer, in characters, where the window is small: Pi's own limit is 50 kB."""
    window = execution.settings.get(execution.model, Model()).context_window
    return {"AC_TOOL_CHARACTERS": str(window // 2)} if window and window < SMALL_WINDOW else {}
