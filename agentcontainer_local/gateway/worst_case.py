"""The worst case of a model call, and the changes to its body that limit it and make it report its usage."""

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

UNSAID_TOKENS = 16_384  # where neither the call nor the table says how much a model writes
MAX_OUTPUT_TOKENS = 10_000_000
MIN_THINKING_TOKENS = 1024  # Anthropic takes no smaller budget for it
TIER = {"messages": "standard_only", "responses": "default", "completions": "default"}


def worst(call: Call, grant: Grant, prices: Prices) -> Worst:
    """Raises Refusal where the call does not say in plain numbers how much it wants written."""
    models = [call.model, *_stand_ins(call)]
    rates = [prices.find(grant.provider, model) for model in models]
    output, input_tokens = _asked_output(call, rates[0]), _input_tokens(call, grant)
    # A stand-in is asked when the first one would not answer; all may want to be paid.
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
    """The fields by which a call says how much it wants written; the first one is used where none is given."""
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
    """From a call that is over; `told`: it said what it used."""
    grant.known.written += figures.output_tokens if told else reserved.output_tokens
    if told:
        token_estimate.learn(
            grant.known, call.body, call.route.dialect, _beta(call), len(call.raw), figures.prompt_tokens
        )


def kept_to(call: Call, grant: Grant, prices: Prices, output_tokens: int) -> bytes:
    """The body to send. It asks for usage figures; with a budget, its limits are lowered to what is reserved."""
    changes = _told_usage(call)
    if grant.capped:
        changes |= _shortened(call, output_tokens) | _plain_tier(call) | _no_dearer_route(call, prices)
    changes = {name: value for name, value in changes.items() if call.body.get(name) != value}
    if not changes:
        return call.raw
    if changes.keys().isdisjoint(call.body):  # no need to write all of it anew
        return b"".join([memoryview(call.raw)[:-1], b",", orjson.dumps(changes)[1:]])
    return orjson.dumps(call.body | changes)


def _told_usage(call: Call) -> dict[str, Any]:
    """Chat completions say what they used only when they are asked."""
    if call.route.dialect != "completions" or not call.body.get("stream"):
        return {}
    return {"stream_options": {"include_usage": True}}


def _shortened(call: Call, output_tokens: int) -> dict[str, Any]:
    fields = _output_fields(call)
    given = [name for name in fields if call.body.get(name) is not None]
    changes: dict[str, Any] = {name: min(call.body[name], output_tokens) for name in given}
    return (changes or {fields[0]: output_tokens}) | _thinking_less(call, output_tokens)


def _thinking_less(call: Call, output_tokens: int) -> dict[str, Any]:
    """A budget for thinking must be less than that for all of the answer, or the call is refused."""
    thinking = call.body.get("thinking", {})
    if thinking.get("budget_tokens", 0) < output_tokens:
        return {}
    half = output_tokens // 2
    less = {"type": "disabled"} if half < MIN_THINKING_TOKENS else {**thinking, "budget_tokens": half}
    return {"thinking": less}


def _plain_tier(call: Call) -> dict[str, Any]:
    """What an account has set as its own tier may cost more than the table says."""
    return {} if PROVIDERS[call.route.provider].is_router else {"service_tier": TIER[call.route.dialect]}


def _no_dearer_route(call: Call, prices: Prices) -> dict[str, Any]:
    """OpenRouter has one model at several prices; it goes no higher than it is told."""
    provider = PROVIDERS[call.route.provider]
    if not provider.is_router or (rates := prices.find(provider.name, call.model)) is None:
        return {}
    return {"provider": {"max_price": {"prompt": rates["input"], "completion": rates["output"]}}}
