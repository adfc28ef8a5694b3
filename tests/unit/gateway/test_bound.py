"""The most that a call can use, and how it is made to keep to it."""

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.gateway import content, routes, token_estimate, worst_case
from agentcontainer_local.gateway.admission import Call
from agentcontainer_local.gateway.grant import Grant
from agentcontainer_local.gateway.metering import Figures
from agentcontainer_local.gateway.refusal import Refusal
from agentcontainer_local.prices import Prices
from agentcontainer_local.store.tasks import Reserved
from tests.fake_provider import Answers, Raw
from tests.unit.gateway.conftest import MODELS, PATHS, for_provider, granted, request

TIER = {"input": 6, "output": 30, "cacheRead": 1, "cacheWrite": 9, "inputTokensAbove": 5000}
RATES = {"input": 3, "output": 15, "cacheRead": 0.3, "cacheWrite": 3.75, "maxOutput": 64_000, "tiers": [TIER]}
PRICES = Prices("2026-01-01", {name: {model: RATES} for name, model in MODELS.items()})


def called(kind: str, body: dict[str, Any] | bytes, *headers: tuple[bytes, bytes]) -> Call:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    body = json.loads(raw)
    return Call(routes.find(PATHS[kind].encode()), body["model"], body, raw, content.found(body), b"", headers)


def capped(**changes: Any) -> Grant:
    return granted(**{"capped": True, **changes})


def sent(kind: str, body: dict[str, Any], tokens: int = 500, **changes: Any) -> dict[str, Any]:
    call = called(kind, body)
    return json.loads(worst_case.kept_to(call, capped(provider=call.route.provider, **changes), PRICES, tokens))


@pytest.mark.parametrize(
    ("kind", "asked", "field"),
    [
        ("anthropic", {"max_tokens": 9000}, "max_tokens"),
        ("openai responses", {"max_output_tokens": 9000}, "max_output_tokens"),
        ("openai responses", {}, "max_output_tokens"),
        ("openai completions", {"max_completion_tokens": 9000}, "max_completion_tokens"),
        ("openai completions", {"max_tokens": 9000}, "max_tokens"),
        ("openai completions", {}, "max_completion_tokens"),
        ("openrouter", {"max_tokens": 9000}, "max_tokens"),
        ("openrouter", {"max_completion_tokens": 9000}, "max_completion_tokens"),
        ("openrouter", {}, "max_tokens"),
        ("openrouter responses", {}, "max_output_tokens"),
        ("openrouter messages", {"max_tokens": 9000}, "max_tokens"),
    ],
)
def test_the_output_is_cut_down_in_each_format_by_its_own_field(kind, asked, field):
    body = {"model": MODELS[kind.split()[0]], "messages": [], **asked}
    changed = sent(kind, body)
    assert changed[field] == 500
    given = {name: value for name, value in changed.items() if name.startswith("max_")}
    assert given == {field: 500}
    assert {name: changed[name] for name in ("model", "messages")} == {"model": body["model"], "messages": []}


def test_of_two_fields_none_says_more_than_was_reserved():
    body = {"model": MODELS["openai"], "max_tokens": 9000, "max_completion_tokens": 100}
    changed = sent("openai completions", body)
    assert (changed["max_tokens"], changed["max_completion_tokens"]) == (500, 100)
    assert worst_case.worst(called("openai completions", body), capped(provider="openai"), PRICES).output_tokens == 9000


def test_what_is_not_lowered_stays_as_it_came():
    raw = b' {"model":"claude-opus-4-5", "max_tokens":100,"service_tier":"standard_only", "stream":true}\n'
    assert worst_case.kept_to(called("anthropic", raw), capped(), PRICES, 100) == raw


def test_without_a_budget_nothing_is_lowered_and_no_tier_is_set():
    raw = b'{"model":"claude-opus-4-5", "max_tokens":100000}'
    assert worst_case.kept_to(called("anthropic", raw), granted(), PRICES, 100_000) == raw


@pytest.mark.parametrize(
    ("thinking", "tokens", "then"),
    [
        ({"type": "enabled", "budget_tokens": 8000}, 4096, {"type": "enabled", "budget_tokens": 2048}),
        ({"type": "enabled", "budget_tokens": 8000}, 1024, {"type": "disabled"}),
        ({"type": "enabled", "budget_tokens": 1024}, 4096, {"type": "enabled", "budget_tokens": 1024}),
        ({"type": "adaptive"}, 4096, {"type": "adaptive"}),
    ],
)
def test_thinking_keeps_within_a_lowered_answer(thinking, tokens, then):
    body = {"model": MODELS["anthropic"], "max_tokens": 9000, "thinking": thinking}
    assert sent("anthropic", body, tokens)["thinking"] == then


def test_a_stream_of_chat_completions_is_asked_to_say_its_usage_even_when_the_guest_would_rather_not(door, fake):
    model = for_provider(door, fake, "openai")
    for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        fake.plan(Answers("x", input_tokens=7))
        door.post(PATHS["openai completions"], {"model": model, "messages": [], "stream": True, **options})
        assert fake.seen[-1].json["stream_options"] == {"include_usage": True}
        assert door.usages[-1].input_tokens == 7
        assert door.usages[-1].counts == "told"


def test_an_answer_that_does_not_say_its_usage_counts_at_its_worst(door, fake):
    fake.plan(Raw((b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',)))
    door.post(PATHS["openai completions"], request(for_provider(door, fake, "openai"), True, "openai completions"))
    assert (door.usages[0].counts, door.usages[0].complete) == ("worst", True)


def test_openrouter_is_told_to_take_no_dearer_route():
    wishes = sent("openrouter", {"model": MODELS["openrouter"]})["provider"]
    assert wishes == {"max_price": {"prompt": 3, "completion": 15}}


@pytest.mark.parametrize(
    ("kind", "tier"),
    [
        ("anthropic", "standard_only"),
        ("openai responses", "default"),
        ("openai completions", "default"),
        ("openrouter", None),
    ],
)
def test_a_budget_fixes_the_service_tier_that_its_prices_are_for(kind, tier):
    assert sent(kind, {"model": MODELS[kind.split()[0]], "max_tokens": 10}).get("service_tier") == tier


@pytest.mark.parametrize(
    ("extra", "price"),
    [
        ({}, Decimal("3.75")),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, 6),
        ({"system": "x" * 5000}, 9),
    ],
)
def test_input_is_reckoned_at_the_dearest_that_it_can_become(extra, price):
    call = called("anthropic", {"model": MODELS["anthropic"], "max_tokens": 10, **extra})
    worst = worst_case.worst(call, capped(), PRICES)
    assert worst.input_price == price


HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "extra",
    [
        HOUR,
        {"tools": [{"name": "x"}, {"name": "y", **HOUR}]},
        {"system": [{"type": "text", "text": "x", **HOUR}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", **HOUR}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x", **HOUR}]}
                    ],
                }
            ]
        },
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "input": {}, **HOUR}]}]},
        {"cache_control": {"type": "ephemeral", "ttl": "2h"}},
    ],
)
def test_an_hours_cache_is_reckoned_with_wherever_it_is_asked_for(extra):
    call = called("anthropic", {"model": MODELS["anthropic"], "max_tokens": 10, **extra})
    assert worst_case.worst(call, capped(), PRICES).input_price == 6
    short = json.loads(json.dumps(extra).replace("1h", "5m").replace("2h", "5m"))
    call = called("anthropic", {"model": MODELS["anthropic"], "max_tokens": 10, **short})
    assert worst_case.worst(call, capped(), PRICES).input_price == Decimal("3.75")


def test_each_stand_in_may_want_to_be_paid_for_all_of_a_call():
    body = {"model": MODELS["anthropic"], "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
    alone = worst_case.worst(called("anthropic", body), capped(), PRICES)
    stand_ins = {**body, "fallbacks": [{"model": MODELS["anthropic"]}] * 2}
    three = worst_case.worst(called("anthropic", stand_ins), capped(), PRICES)
    assert three.tokens(10) > 3 * alone.tokens(10)
    assert three.microusd(10) > 3 * (alone.microusd(10) - 1)


@pytest.mark.parametrize("tokens", ["9", 1.5, -1, 0, True, [1], {"a": 1}])
def test_a_number_of_tokens_that_is_none_is_malformed(tokens):
    with pytest.raises(Refusal) as refused:
        worst_case.worst(called("anthropic", {"model": MODELS["anthropic"], "max_tokens": tokens}), capped(), PRICES)
    assert refused.value.status == 400


def test_an_image_counts_by_what_images_cost_and_not_by_its_bytes():
    part = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 900_000}}
    body = {"model": MODELS["anthropic"], "max_tokens": 9, "messages": [{"role": "user", "content": [part, part]}]}
    worst = worst_case.worst(called("anthropic", body), capped(), PRICES)
    assert 12_000 < worst.input_tokens < 16_000


# A provider's own count is not known; any that gives a token to one byte or more of what it reads must be below.

WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": WORDS})


def tokens(body: dict[str, Any]) -> int:
    """A hard case: a token for each byte of text."""
    texts = [body.get("system", ""), *(message["content"] for message in body["messages"])]
    return sum(len(text.encode()) for text in texts)


@given(st.lists(st.lists(MESSAGE, max_size=4), min_size=1, max_size=6), st.booleans(), WORDS, st.data())
def test_no_prompt_that_goes_on_from_another_has_more_tokens_than_is_reckoned(steps, rewritten, system, data):
    grant, messages = capped(), []
    for added in steps:
        if rewritten and messages:
            messages = messages[: data.draw(st.integers(0, len(messages)))]
        messages = [*messages, *added]
        body = {
            "model": MODELS["anthropic"],
            "max_tokens": 9,
            "messages": messages,
            "system": data.draw(st.sampled_from([system, ""])),
        }
        call = called("anthropic", body)
        assert worst_case.worst(call, grant, PRICES).input_tokens >= tokens(body)
        worst_case.learn(call, grant, Reserved(1, 9), Figures(input_tokens=tokens(body), told=True), True)


def test_what_was_counted_once_is_not_reckoned_by_its_bytes_again():
    grant = capped()
    marked = {"type": "text", "text": "x" * 400_000, "cache_control": {"type": "ephemeral"}}
    long = {"role": "user", "content": [marked]}
    body = {"model": MODELS["anthropic"], "max_tokens": 9, "messages": [long]}
    first = called("anthropic", body)
    assert worst_case.worst(first, grant, PRICES).input_tokens > 400_000
    worst_case.learn(first, grant, Reserved(1, 9), Figures(input_tokens=90_000, cache_write_tokens=10_000), True)
    unmarked = {"role": "user", "content": [{"type": "text", "text": "x" * 400_000}]}
    later = {**body, "max_tokens": 50, "messages": [unmarked, {"role": "assistant", "content": "yes"}]}
    assert 100_000 < worst_case.worst(called("anthropic", later), grant, PRICES).input_tokens < 103_000


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{"name": "x"}]},
        {"thinking": {"type": "disabled"}},
        {"output_config": {"effort": "low"}},
        {"fallbacks": [{"model": "claude-haiku-4-5"}]},
        {"system": "other"},
        {"model": "claude-haiku-4-5"},
    ],
)
def test_a_request_that_differs_in_what_counts_is_reckoned_by_its_bytes(change):
    grant = capped()
    body = {"model": MODELS["anthropic"], "max_tokens": 9, "messages": [{"role": "user", "content": "x" * 9000}]}
    worst_case.learn(called("anthropic", body), grant, Reserved(1, 9), Figures(input_tokens=10), True)
    assert worst_case.worst(called("anthropic", {**body, **change}), grant, PRICES).input_tokens > 9000
    assert worst_case.worst(called("anthropic", body, (b"anthropic-beta", b"x")), grant, PRICES).input_tokens > 9000
    assert worst_case.worst(called("anthropic", body), grant, PRICES).input_tokens < 9000


def test_thinking_that_one_prompt_left_out_is_reckoned_with_in_the_next():
    grant = capped(known=token_estimate.Known(written=5000))
    thought = {"type": "thinking", "thinking": "hm", "signature": "x" * 9000}
    body = {
        "model": MODELS["anthropic"],
        "max_tokens": 9,
        "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": "x" * 20_000}, {"role": "assistant", "content": [thought]}],
    }
    worst_case.learn(called("anthropic", body), grant, Reserved(1, 9), Figures(input_tokens=10, output_tokens=70), True)
    assert 5080 <= worst_case.worst(called("anthropic", body), grant, PRICES).input_tokens < 9000
    without = {**body, "messages": body["messages"][:1]}
    assert worst_case.worst(called("anthropic", without), grant, PRICES).input_tokens < 4000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "source",
                        "url",
                        "image_url",
                        "role",
                        "reasoning",
                        "data",
                        "content",
                        "input",
                        "text",
                        "ttl",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_no_shape_of_messages_makes_the_look_at_them_raise(messages):
    content.found(messages)
