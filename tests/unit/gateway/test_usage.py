"""The figures of a call are read out of its answer, however it comes in pieces."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.gateway import metering as usage
from agentcontainer_local.gateway.metering import Figures, Meter
from agentcontainer_local.gateway.scripted import wire

# Answers as the vendors document them, shortened.
MESSAGES = b"""event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],\
"model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":25,"cache_creation_input_tokens":1000,\
"cache_read_input_tokens":2000,"cache_creation":{"ephemeral_5m_input_tokens":900,"ephemeral_1h_input_tokens":100},\
"output_tokens":1,"service_tier":"standard"}}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",\
"text":"\\"usage\\": {\\"input_tokens\\": 9}"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":503}}

event: message_stop
data: {"type":"message_stop"}

"""
RESPONSES = b"""event: response.created
data: {"type":"response.created","response":{"id":"resp_1","status":"in_progress","model":"gpt-5.1","usage":null}}

event: response.completed
data: {"type":"response.completed","response":{"id":"resp_1","status":"completed","model":"gpt-5.1",\
"service_tier":"priority","usage":{"input_tokens":328,"input_tokens_details":{"cached_tokens":128},"output_tokens":52,\
"output_tokens_details":{"reasoning_tokens":10},"total_tokens":380}}}

"""
COMPLETIONS = b""": OPENROUTER PROCESSING

data: {"id":"gen-1","model":"z-ai/glm-9","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"gen-1","model":"z-ai/glm-9","choices":[],\
"usage":{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.00095,\
"is_byok":false,"prompt_tokens_details":{"cached_tokens":90,"cache_write_tokens":4}}}

data: [DONE]

"""
SAMPLES = {
    "messages": (
        MESSAGES,
        Figures(25, 503, 2000, 1000, 100, None, "standard", "claude-sonnet-4-5-20250929", True, True),
    ),
    "responses": (RESPONSES, Figures(200, 52, 128, 0, 0, None, "priority", "gpt-5.1", True, True)),
    "completions": (COMPLETIONS, Figures(100, 2, 90, 4, 0, Decimal("0.00095"), None, "z-ai/glm-9", True, True)),
}
DIALECTS = sorted(SAMPLES)


def metered(dialect: str, pieces: list[bytes], streaming: bool = True) -> Figures:
    meter = Meter(dialect, streaming)
    for piece in pieces:
        meter.feed(piece)
    meter.close()
    return meter.figures


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_figures_of_a_whole_stream_are_those_it_says(dialect):
    data, figures = SAMPLES[dialect]
    assert metered(dialect, [data]) == figures


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_byte_by_byte_gives_the_same(dialect):
    data, figures = SAMPLES[dialect]
    assert metered(dialect, [data[at : at + 1] for at in range(len(data))]) == figures


@given(
    st.sampled_from(DIALECTS), st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"])
)
def test_any_split_and_any_kind_of_line_gives_the_same(dialect, places, end):
    data, figures = SAMPLES[dialect]
    assert metered(dialect, cut(data.replace(b"\n", end), places)) == figures


@given(st.sampled_from(DIALECTS), st.integers(0, 2000), st.lists(st.integers(0, 10_000), max_size=5))
def test_a_stream_that_was_cut_gives_what_it_had_said_and_any_split_the_same(dialect, length, places):
    data = SAMPLES[dialect][0][:length]
    assert metered(dialect, cut(data, places)) == metered(dialect, [data])


@given(st.sampled_from([*DIALECTS, "count"]), st.booleans(), st.lists(st.binary(max_size=50), max_size=10))
def test_garbage_never_raises(dialect, streaming, pieces):
    metered(dialect, pieces, streaming)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "usage",
                    "message",
                    "response",
                    "model",
                    "choices",
                    "type",
                    "input_tokens",
                    "output_tokens",
                    "prompt_tokens",
                    "cost",
                    "is_byok",
                    "cost_details",
                    "upstream_inference_cost",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "service_tier",
                    "input_tokens_details",
                    "cache_creation",
                    "status",
                    "finish_reason",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from(DIALECTS), st.booleans(), JSON)
def test_odd_shapes_never_raise_and_figures_stay_countable(dialect, streaming, document):
    data = json.dumps({"usage": document} if not isinstance(document, dict) else document).encode()
    figures = metered(dialect, [b"data: " + data + b"\n\n" if streaming else data], streaming)
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        assert type(getattr(figures, name)) is int
        assert 0 <= getattr(figures, name) <= 10**12
    assert figures.reported_usd is None or 0 <= figures.reported_usd <= 2 * 10**6


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("streaming", [True, False])
def test_the_scripted_models_own_answers_are_read_back(dialect, streaming):
    answer = wire.Answer("1", "m", "hello", (wire.ToolCall("call_1", "bash", {"command": "ls"}),), 7, 8, 9, 10, 0.5)
    pieces = list(wire.stream(dialect, answer)) if streaming else [json.dumps(wire.whole(dialect, answer)).encode()]
    assert metered(dialect, pieces, streaming) == Figures(7, 8, 9, 10, 0, Decimal("0.5"), None, "m", True, True)


def test_a_key_of_the_users_own_at_the_vendor_costs_both():
    told = {"prompt_tokens": 1, "cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}
    answer = json.dumps({"usage": told}).encode()
    assert metered("completions", [answer], False).reported_usd == Decimal("0.21")


def test_usage_that_was_not_asked_for_is_not_made_up():
    data = COMPLETIONS.replace(b'"usage"', b'"other"')
    assert metered("completions", [data]) == Figures(ended=True)


def test_an_event_over_several_data_lines_is_one():
    figures = metered("messages", [b'data: {"type":"message_delta",\ndata: "usage":{"output_tokens":3}}\n\n'])
    assert figures.output_tokens == 3


def test_memory_is_bounded_and_what_follows_a_huge_line_is_still_read(monkeypatch):
    monkeypatch.setattr(usage, "MAX_EVENT_BYTES", 1000)
    meter = Meter("messages", True)
    for _ in range(100):
        meter.feed(b'data: {"usage":{"output_tokens":9},"x":"' if not meter._size else b"x" * 100)
        assert sum(map(len, meter._parts)) <= 1100
    meter.feed(b'"}\n\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\n\n')
    meter.close()
    assert meter.figures.output_tokens == 3


def test_many_data_lines_without_an_end_do_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(usage, "MAX_EVENT_BYTES", 1000)
    meter = Meter("messages", True)
    for _ in range(1000):
        meter.feed(b"data: xxxxxxxxxxxxxxxxxxxx\n")
    assert sum(map(len, meter._data)) <= 1000


# Usage is told several times in one answer, and what it says may have another price than the table's.


def told(dialect: str, *usages: dict, **words) -> Figures:
    """Of a stream that says these one after the other."""
    holder = {"messages": "message", "responses": "response"}.get(dialect)
    events = [{"usage": usage, **words} for usage in usages]
    return metered(dialect, [b"data: %s\n\n" % json.dumps({holder: one} if holder else one).encode() for one in events])


FIELDS = {
    "messages": {
        "input_tokens": "input_tokens",
        "output_tokens": "output_tokens",
        "cache_read_tokens": "cache_read_input_tokens",
        "cache_write_tokens": "cache_creation_input_tokens",
    },
    "responses": {"input_tokens": "input_tokens", "output_tokens": "output_tokens"},
    "completions": {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"},
}


@given(st.sampled_from(DIALECTS), st.data())
def test_of_each_figure_the_largest_counts_whatever_a_later_event_takes_back(dialect, data):
    counts = st.dictionaries(st.sampled_from(sorted(FIELDS[dialect].values())), st.none() | st.integers(0, 9999))
    usages = data.draw(st.lists(counts, min_size=1, max_size=5))
    figures = told(dialect, *usages)
    for ours, theirs in FIELDS[dialect].items():
        assert getattr(figures, ours) == max((usage.get(theirs) or 0 for usage in usages), default=0)


def test_a_prompt_that_is_told_at_the_start_is_not_taken_back_at_the_end():
    figures = told("messages", {"input_tokens": 5000, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 20})
    assert (figures.input_tokens, figures.output_tokens) == (5000, 20)


def test_usage_within_a_choice_counts():
    figures = metered("completions", [b'data: {"choices":[{"finish_reason":"stop","usage":{"prompt_tokens":7}}]}\n\n'])
    assert (figures.input_tokens, figures.told) == (7, True)


HARMLESS = [
    {"usage": {"service_tier": "standard"}},
    {"service_tier": "default"},
    {"service_tier": "priority"},
    {"service_tier": None},
    {"usage": {"speed": "standard"}},
    {"usage": {"inference_geo": "not_available"}},
    {"usage": {"inference_geo": "global"}},
    {"usage": {"iterations": [{"type": "message", "input_tokens": 1}]}},
    {"usage": {"server_tool_use": {"web_search_requests": 0}}},
    {"usage": {"server_tool_use": None}},
    {"usage": {"prompt_tokens_details": {"audio_tokens": 0, "text_tokens": 5}}},
    {"usage": {"surprise": 0}},
    {"usage": {"output_tokens_details": {"thinking_tokens": 9}}},
    {"usage": {"input_tokens_details": {"cache_write_tokens_details": {"ttl_30m_tokens": 9, "ttl_12h_tokens": 0}}}},
    {"usage": {"cost": 0.1, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.1}}},
]
DOUBTFUL = [
    {"service_tier": "ultrafast"},
    {"usage": {"service_tier": "ultrafast"}},
    {"service_tier": ["default"]},
    {"usage": {"speed": "fast"}},
    {"speed": "fast"},
    {"usage": {"inference_geo": "us"}},
    {"usage": {"surprise": 1}},
    {"usage": {"surprise": "x"}},
    {"usage": {"surprise": {"a": 1}}},
    {"usage": {"server_tool_use": {"web_search_requests": 2}}},
    {"usage": {"prompt_tokens_details": {"audio_tokens": 5}}},
    {"usage": {"input_tokens_details": {"cache_write_tokens_details": {"ttl_12h_tokens": 9}}}},
    {"usage": {"iterations": [{"type": "compaction", "input_tokens": 50_000}, {"type": "message"}]}},
    {"usage": {"iterations": [{"type": "compaction"}]}},
    {"usage": {"iterations": ["x"]}},
    {"usage": {"iterations": [{"type": "message"}, {"type": "fallback_message"}]}},
    {"usage": {"cost_details": {"surprise": 1}}},
    {"usage": {"cost_details": {"cost_details": {"cost_details": {"cost_details": {"cost_details": {"a": 1}}}}}}},
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("said", "doubtful"), [*[(one, False) for one in HARMLESS], *[(one, True) for one in DOUBTFUL]]
)
def test_what_the_table_has_no_price_for_makes_a_call_doubtful(dialect, said, doubtful):
    usage = {"input_tokens": 9, "prompt_tokens": 9, "output_tokens": 3, "completion_tokens": 3, **said.get("usage", {})}
    words = {name: value for name, value in said.items() if name != "usage"}
    assert told(dialect, usage, **words).doubtful == doubtful
    assert told(dialect, usage, {"output_tokens": 3}, **words).doubtful == doubtful


def test_the_dearest_of_several_tiers_is_paid():
    tiers = [
        b'data: {"response":{"usage":{"input_tokens":1},"service_tier":"%s"}}\n\n' % tier
        for tier in (b"priority", b"default")
    ]
    assert metered("responses", tiers).service_tier == "priority"
