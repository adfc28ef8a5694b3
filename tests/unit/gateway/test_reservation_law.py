"""The law of reservations: whatever request passes, a provider can charge no more for it than was set aside.

Requests are drawn from the lists of what is allowed, with fields put in that are on none of them. What they may cost is
worked out here anew, for a provider that counts a token for each byte it reads and takes each of its dearest prices.
"""

import copy
import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentcontainer_local.gateway import admission, content, routes, worst_case
from agentcontainer_local.gateway.allowed import BODIES
from agentcontainer_local.gateway.allowed.messages import PLACEHOLDER
from agentcontainer_local.gateway.allowed.shape import FREE, Exactly, Kinds
from agentcontainer_local.gateway.metering import Figures
from agentcontainer_local.gateway.refusal import Refusal
from agentcontainer_local.prices import Prices
from agentcontainer_local.store.tasks import Reserved
from tests.unit.gateway.conftest import MODELS, PATHS, granted

TIER = {"input": 6, "output": 30, "cacheRead": 1, "cacheWrite": 9, "inputTokensAbove": 5000}
RATES = {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75, "maxOutput": 64_000, "tiers": [TIER]}
STAND_IN = "claude-cheaper"
PRICES = Prices("2026-01-01", {name: {model: RATES, STAND_IN: RATES} for name, model in MODELS.items()})
IMAGE_TOKENS = {"anthropic": 4784, "openai": 10_000, "openrouter": 16_384}  # the most that their vendors tell
OUTPUT = ("max_tokens", "max_output_tokens", "max_completion_tokens")

# Fields of the vendors' interfaces that make a call dearer, by so much at least.
DEARER = {
    "service_tier": "ultrafast",
    "speed": "fast",
    "inference_geo": "us",
    "n": 5,
    "best_of": 5,
    "multi_agent": {},
    "compaction": {"type": "summarize"},
    "context_management": [],
    "mcp_servers": [],
    "plugins": [{"id": "web"}],
    "web_search_options": {},
    "audio": {},
    "mode": "pro",
    "ttl": "12h",
    "detail": "original",
    "defer_loading": True,
    "clear_at": "next_user_message",
    "provider": {},
    "models": ["gpt-6-astra"],
    "max_tokens": 10**7,
    "file_id": "f",
    "server_url": "https://x",
    "type": "web_search",
}
FACTOR = 100


def drawn(shape: Any) -> st.SearchStrategy:
    """Values of a shape."""
    if isinstance(shape, dict):
        return st.fixed_dictionaries({}, optional={name: drawn(inner) for name, inner in shape.items()})
    if isinstance(shape, list):
        return st.just([]) if shape[0] == frozenset() else st.lists(drawn(shape[0]), max_size=3)
    if isinstance(shape, Kinds):
        return st.one_of(
            [
                st.sampled_from(shape.fields if kind in ("user", "system", "developer") else shape.fields[:1]).flatmap(
                    lambda field, kind=kind, inner=inner: drawn({**inner, field: frozenset({kind})}).map(
                        lambda one, field=field, kind=kind: {**one, field: kind}
                    )
                )
                for kind, inner in shape.shapes.items()
            ]
        )
    if isinstance(shape, tuple):
        return st.one_of([drawn(one) for one in shape])
    if isinstance(shape, Exactly):
        return st.builds(copy.deepcopy, st.just(shape.value)) | drawn(shape.otherwise)
    if isinstance(shape, frozenset):
        return st.sampled_from(sorted(shape, key=str))
    if isinstance(shape, re.Pattern):
        return st.text("AB+/", max_size=40).map(lambda data: f"data:image/png;base64,{data}")
    if shape is FREE:
        return st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=9), max_size=3)
    return {
        str: st.text(st.characters(codec="utf-8"), max_size=20),
        int: st.integers(1, 20_000),
        bool: st.booleans(),
        None: st.none(),
    }[shape]


REQUESTS = {kind: drawn(BODIES[routes.find(path.encode()).dialect]) for kind, path in PATHS.items()}


@st.composite
def requests(draw, kind: str) -> dict[str, Any]:
    body = draw(REQUESTS[kind])
    body["model"] = MODELS[kind.split()[0]]
    if "fallbacks" in body:
        body["fallbacks"] = [{"model": STAND_IN}] * len(body["fallbacks"])
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(DEARER)))
        draw(st.sampled_from(objects(body)))[name] = DEARER[name]
    return body


def objects(value: Any) -> list[dict]:
    """All within, but what is free."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict) else []) + [
        found
        for name, one in inner
        if name not in ("parameters", "input_schema")
        and not (name == "input" and isinstance(value, dict) and value.get("type") == "tool_use")
        for found in objects(one)
    ]


def read(value: Any, images: int) -> tuple[int, int]:
    """Bytes that a provider reads, and how many images it sees."""
    if isinstance(value, dict):
        found = [read(one, images) for one in value.values()]
        image = value.get("type") in ("image", "image_url", "input_image")
        size = sum(len(name.encode()) for name in value) + sum(one[0] for one in found)
        return (0, 1) if image else (size, sum(one[1] for one in found))
    if isinstance(value, list):
        found = [read(one, images) for one in value]
        return sum(one[0] for one in found), sum(one[1] for one in found)
    return len(value.encode()) if isinstance(value, str) else 1, 0


def owed(provider: str, given: dict[str, Any], sent: dict[str, Any]) -> tuple[int, Decimal]:
    """Tokens, and millionths of a USD, that the dearest of providers takes for what was sent."""
    size, images = read(given, 0)
    prompt = size + images * IMAGE_TOKENS[provider]
    output = max(sent[name] for name in OUTPUT if name in sent)
    hour = any(one.get("ttl") == "1h" for one in objects(given))
    rates = TIER if prompt > TIER["inputTokensAbove"] else RATES
    written = Decimal(str(rates["input"] * 2 if hour else rates["cacheWrite"]))
    models = 1 + len(given.get("fallbacks", []))
    tier = sent.get("service_tier")
    dear = FACTOR if provider != "openrouter" and tier not in ("default", "standard_only") else 1
    # How much is written is what was sent; and the one tool that is deferred is never loaded.
    within = [one for one in objects({**given, "max_tokens": 0}) if one != PLACEHOLDER]
    dear *= FACTOR if any(name in one and one[name] == value for one in within for name, value in DEARER.items()) else 1
    return (prompt + output) * models * dear, (prompt * written + output * rates["output"]) * models * dear


@settings(max_examples=100)
@given(st.sampled_from(sorted(PATHS)).flatmap(lambda kind: st.tuples(st.just(kind), requests(kind))), st.data())
def test_no_request_that_passes_costs_more_than_was_reserved(asked, data):
    kind, body = asked
    provider, route = kind.split()[0], routes.find(PATHS[kind].encode())
    grant = granted(provider=provider, models=frozenset({MODELS[provider]}), capped=True)
    try:
        understood, raw = admission.understood(route, json.dumps(body).encode())
        admission.check_models(understood, grant, PRICES)
    except Refusal:
        return
    one = admission.Call(route, body["model"], understood, raw, content.found(understood), b"", ())
    worst = worst_case.worst(one, grant, PRICES)
    output = data.draw(st.integers(1, worst.output_tokens))
    sent = json.loads(worst_case.kept_to(one, grant, PRICES, output))
    tokens, microusd = owed(provider, understood, sent)
    assert worst.tokens(output) >= tokens
    assert worst.microusd(output) >= microusd


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(PATHS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(requests(kind), min_size=2, max_size=4))
    ),
    st.integers(1, 4),
)
def test_nor_does_one_that_goes_on_from_another(asked, bytes_a_token):
    """What a provider has told of one request lowers what is set aside for the next, but never too far."""
    kind, bodies = asked
    provider, route = kind.split()[0], routes.find(PATHS[kind].encode())
    grant = granted(provider=provider, models=frozenset({MODELS[provider]}), capped=True)
    field = "input" if route.dialect == "responses" else "messages"
    history: list[Any] = []
    for body in bodies:
        items = body.get(field)
        history = history + (items if isinstance(items, list) else [])
        body = {**bodies[0], field: history}
        try:
            understood, raw = admission.understood(route, json.dumps(body).encode())
        except Refusal:
            return
        one = admission.Call(route, body["model"], understood, raw, content.found(understood), b"", ())
        size, images = read(understood, 0)
        prompt = size // bytes_a_token + images * IMAGE_TOKENS[provider]
        assert worst_case.worst(one, grant, PRICES).input_tokens >= prompt
        worst_case.learn(one, grant, Reserved(1, 9), Figures(input_tokens=prompt, told=True), True)
