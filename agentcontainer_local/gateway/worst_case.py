"""The worst case of a model call, and changes of its body that enforce it and request usage figures."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from agentcontainer_local.gateway import token_estimate
from agentcontainer_local.gateway.admission import Call
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.metering import Figures
from agentcontainer_local.gateway.refusal import malformed
from agentcontainer_local.prices import Prices, dearest
from agentcontainer_local.providers import PROVIDERS
from agentcontainer_local.store.tasks import Reserved, Worst

UNSAID_TOKENS = 16_384  # assumed output, if neither the call nor the price table has a limit
MAX_OUTPUT_TOKENS = 10_000_000
MIN_THINKING_TOKENS = 1024  # Anthropic's minimum for a thinking budget
TIER = {"messages": "standard_only", "responses": "default", "completions": "default"}


def worst(call: Call, grant: Grant, prices: Prices) -> Worst:
    """The worst case of the call. Raises Refusal if a maximum of output tokens is not a positive integer."""
    models = [call.model, *_stand_ins(call)]
    rates = [prices.find(grant.provider, model) for model in models]
    output, input_tokens = _asked_output(call, rates[0]), _input_tokens(call, grant)
    # Fallback models are asked if the previous one does not answer, and each of them may cost.
    worst = Worst(grant.provider, call.model, input_tokens, output, None, None, times=len(models))
    dear = [dearest(one, input_tokens, call.inside.cached_long) for one in rates if one]
    if len(dear) < len(models):
        return worst
    return replace(worst, input_price=max(price for price, _ in dear), output_price=max(price for _, price in dear))


def _stand_ins(call: Call) -> list[str]:
    return [one["model"] for one in call.body.get("fallbacks", [])]


def _asked_output(call: Call, rates: Mapping[str, Any] | None) -> int:
    asked = [call.body[name] for name in _output_fields(call) if call.body.get(name) is not None]
    if any(type(tokens) is not int or tokens < 1 for tokens in asked):
        raise malformed("The maximum number of output tokens must be a positive whole number.")
    unsaid = (rates or {}).get("maxOutput") or UNSAID_TOKENS
    return min(max(asked, default=unsaid), MAX_OUTPUT_TOKENS)


def _output_fields(call: Call) -> tuple[str, ...]:
    """The fields with the maximum output. The first one is used if the call has none."""
    if call.route.dialect == "completions":
        return PROVIDERS[call.route.provider].max_tokens
    return ("max_output_tokens",) if call.route.dialect == "responses" else ("max_tokens",)


def _input_tokens(call: Call, grant: Grant) -> int:
    most = token_estimate.by_bytes(len(call.raw), call.inside, call.model)
    less = token_estimate.by_what_is_known(grant.known, call.body, call.route.dialect, _beta(call), call.inside)
    return most if less is None else min(most, less)


def _beta(call: Call) -> bytes:
    return b",".join(value for name, value in call.headers if name.lower() == b"anthropic-beta")


def learn(call: Call, grant: Grant, reserved: Reserved, figures: Figures, told: bool) -> None:
    """Learns from an ended call. `told`: the provider reported its usage."""
    grant.known.written += figures.output_tokens if told else reserved.output_tokens
    if told:
        token_estimate.learn(
            grant.known, call.body, call.route.dialect, _beta(call), len(call.raw), figures.prompt_tokens
        )


def kept_to(call: Call, grant: Grant, prices: Prices, output_tokens: int) -> bytes:
    """The body to send. It asks for usage figures. With a budget, it is limited to what is reserved."""
    changes = _told_usage(call)
    if grant.capped:
        changes |= _shortened(call, output_tokens) | _plain_tier(call) | _no_dearer_route(call, prices)
    changes = {name: value for name, value in changes.items() if call.body.get(name) != value}
    if not changes:
        return call.raw
    if changes.keys().isdisjoint(call.body):  # no need to serialise the whole body again
        return b"".join([memoryview(call.raw)[:-1], b",", orjson.dumps(changes)[1:]])
    return orjson.dumps(call.body | changes)


def _told_usage(call: Call) -> dict[str, Any]:
    """Chat completions report usage only on request."""
    if call.route.dialect != "completions" or not call.body.get("stream"):
        return {}
    return {"stream_options": {"include_usage": True}}


def _shortened(call: Call, output_tokens: int) -> dict[str, Any]:
    fields = _output_fields(call)
    given = [name for name in fields if call.body.get(name) is not None]
    changes: dict[str, Any] = {name: min(call.body[name], output_tokens) for name in given}
    return (changes or {fields[0]: output_tokens}) | _thinking_less(call, output_tokens)


def _thinking_less(call: Call, output_tokens: int) -> dict[str, Any]:
    """Reduces the thinking budget, which must be smaller than the maximum of output tokens."""
    thinking = call.body.get("thinking", {})
    if thinking.get("budget_tokens", 0) < output_tokens:
        return {}
    half = output_tokens // 2
    less = {"type": "disabled"} if half < MIN_THINKING_TOKENS else {**thinking, "budget_tokens": half}
    return {"thinking": less}


def _plain_tier(call: Call) -> dict[str, Any]:
    """Sets the service tier, because the account's default tier could cost more than the price table says."""
    return {} if PROVIDERS[call.route.provider].is_router else {"service_tier": TIER[call.route.dialect]}


def _no_dearer_route(call: Call, prices: Prices) -> dict[str, Any]:
    """Limits the price at OpenRouter, which offers a model at several prices."""
    provider = PROVIDERS[call.route.provider]
    if not provider.is_router or (rates := prices.find(provider.name, call.model)) is None:
        return {}
    return {"provider": {"max_price": {"prompt": rates["input"], "completion": rates["output"]}}}
