"""Pi's models.json, and its settings that depend on a model's context window."""

from typing import Any

from agentcontainer_local.guest_contract import GATEWAY_PORT
from agentcontainer_local.providers import PROVIDERS
from agentcontainer_local.store.model_settings import UNSAID_WINDOW, Model
from agentcontainer_local.store.tasks import Execution

PI_APIS = {"messages": "anthropic-messages", "responses": "openai-responses", "chat-completions": "openai-completions"}
UNSAID_OUTPUT = 16_384
SMALL_WINDOW = 65_536


def spelled(provider: str, model: str, catalog: dict[str, list[str]]) -> str:
    """The model's id. Dots become dashes if the provider's API and Pi's catalog use these (Anthropic)."""
    dashed = model.replace(".", "-")
    known = catalog.get(provider, [])
    return dashed if PROVIDERS[provider].dashed and model not in known and dashed in known else model


def document(execution: Execution, model: str, weak: str | None, catalog: dict[str, list[str]]) -> dict[str, Any]:
    """models.json: only this provider, at the gateway, with the models and settings that Pi does not know."""
    provider = execution.provider
    known, whole, changed = catalog.get(provider, []), [], {}
    for id, asked in ((model, execution.model), (weak, execution.weak_model)):
        if id is None:
            continue
        settings, api = execution.settings.get(asked or id, Model()), _api(execution, id)
        if id not in known or api is not None:
            whole.append(_whole(provider, id, api, settings, id in known))
        elif change := _change(settings):
            changed[id] = change
    vendor = PROVIDERS[provider]
    path = vendor.gateway_path
    if execution.api not in (None, "messages"):
        path += vendor.version  # unlike Anthropic's SDK, OpenAI's expects it in the base URL
    gateway = {"baseUrl": f"http://127.0.0.1:{GATEWAY_PORT}/{path}", "apiKey": "none"}
    extra = {**({"models": whole} if whole else {}), **({"modelOverrides": changed} if changed else {})}
    return {"providers": {provider: gateway | extra}}


def _api(execution: Execution, id: str) -> str | None:
    """The API that was set. Other servers in OpenRouter's place lack Anthropic's API, which Pi would use for Claude
    models."""
    if execution.api is not None:
        return PI_APIS[execution.api]
    vendor = PROVIDERS[execution.provider]
    relayed = vendor.is_router and execution.own_address and id.startswith("anthropic/")
    return PI_APIS[vendor.api] if relayed else None


def _whole(provider: str, id: str, api: str | None, settings: Model, known: bool) -> dict[str, Any]:
    """A model that Pi does not know, or not with this API. Without settings, it gets limits that most models have.
    Image input is assumed only for known models, which nearly all support it."""
    most = _most_output(settings) or UNSAID_OUTPUT
    return {
        "id": id,
        "api": api or PI_APIS[PROVIDERS[provider].api],
        "reasoning": False,
        "contextWindow": UNSAID_WINDOW,
        "maxTokens": most,
        "input": ["text", "image"] if known else ["text"],
        "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
        **_change(settings),
    }


def _change(settings: Model) -> dict[str, Any]:
    found = {"contextWindow": settings.context_window, "maxTokens": _most_output(settings)}
    inputs = {} if settings.images is None else {"input": ["text", "image"] if settings.images else ["text"]}
    return {name: value for name, value in found.items() if value is not None} | inputs


def _most_output(settings: Model) -> int | None:
    """The maximum output: at most a quarter of a known context window, so that the prompt has room."""
    if settings.context_window is None:
        return settings.max_output_tokens
    return min(settings.max_output_tokens or UNSAID_OUTPUT, settings.context_window // 4)


def compaction(execution: Execution) -> dict[str, Any]:
    """Compaction settings for a known window. Pi's defaults, keeping 20,000 tokens and starting 16,384 before the end,
    are too large for a small one."""
    window = execution.settings.get(execution.model, Model()).context_window
    if window is None:
        return {}
    return {"compaction": {"reserveTokens": min(16_384, window // 4), "keepRecentTokens": min(20_000, window // 4)}}


def tool_limit(execution: Execution) -> dict[str, str]:
    """The maximum output of one tool, in characters, for small windows. Pi's own limit is 50 kB."""
    window = execution.settings.get(execution.model, Model()).context_window
    return {"AC_TOOL_CHARACTERS": str(window // 2)} if window and window < SMALL_WINDOW else {}
