"""A call may contain what Pi sends and nothing else: other fields, types, values and headers are refused by name."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcontainer_local.gateway.allowed import BODIES
from agentcontainer_local.gateway.allowed.shape import MAX_NAME_CHARACTERS, fault, written
from tests.unit.gateway.conftest import MODELS, PATHS, for_provider, request

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "bash", "input_schema": {}}
FUNCTION = {"type": "function", "name": "bash", "parameters": {}}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def said(role: str, *parts: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": role, "content": list(parts)}]}


def given_back(*parts: Any) -> dict[str, Any]:
    return said("user", {"type": "tool_result", "tool_use_id": "t", "content": list(parts)})


# What a call may not contain: where it is found, and what it would do.
ANTHROPIC = [
    # tools that the provider runs, wherever a tool can be named
    ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("tools[1].type", {"tools": [TOOL, {"type": "code_execution_20250825", "name": "x"}]}),
    ("tools[0].type", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
    ("tools[0].type", {"tools": [{"type": "custom", "name": "x", "input_schema": {}}]}),
    ("tools[0].defer_loading", {"tools": [{**TOOL, "defer_loading": True}]}),
    ("tools[0].allowed_callers", {"tools": [{**TOOL, "allowed_callers": ["code_execution_20250825"]}]}),
    ("tools[0]", {"tools": ["web_search"]}),
    ("tools", {"tools": {"type": "web_search"}}),
    ("tool_choice", {"tool_choice": {"type": "any"}}),
    ("mcp_servers", {"mcp_servers": [{"url": "https://attacker.example"}]}),
    (
        "messages[1].content[0].tool.definition.type",
        said(
            "system",
            {
                "type": "tool_addition",
                "tool": {"type": "tool_definition", "definition": {"type": "web_fetch_20260318", "name": "web_fetch"}},
            },
        ),
    ),
    (
        "messages[1].content[0].tool.definition.defer_loading",
        said(
            "system",
            {
                "type": "tool_addition",
                "tool": {"type": "tool_definition", "definition": {**TOOL, "defer_loading": True}},
            },
        ),
    ),
    (
        "messages[1].content[0].tool.type",
        said("system", {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}}),
    ),
    (
        "messages[1].content[0].tool.server_name",
        said("system", {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "x", "server_name": "y"}}),
    ),
    ("messages[1].content[0].type", said("assistant", {"type": "server_tool_use", "name": "web_search", "id": "x"})),
    ("messages[1].content[0].type", said("assistant", {"type": "mcp_tool_use", "name": "x", "server_name": "y"})),
    ("messages[1].content[0].content[0].type", given_back({"type": "tool_reference", "tool_name": "x"})),
    ("messages[1].content[0].content[0].type", given_back({"type": "search_result", "source": "x"})),
    # what lies in the provider account, and what the provider would fetch
    ("container", {"container": "c_1"}),
    ("thread", {"thread": {"type": "continue", "previous_message_id": "msg_someone"}}),
    ("diagnostics", {"diagnostics": {"previous_message_id": "msg_someone"}}),
    ("messages[1].content[0].type", said("user", {"type": "container_upload", "file_id": "f"})),
    ("messages[1].content[0].type", said("user", {"type": "document", "source": {"type": "file", "file_id": "f"}})),
    (
        "messages[1].content[0].source.file_id",
        said("user", {"type": "image", "source": {"file_id": "f", "type": "file"}}),
    ),
    (
        "messages[1].content[0].source.type",
        said("user", {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png?secret"}}),
    ),
    ("messages[1].content[0].source.url", said("user", {"type": "image", "source": {**PNG, "url": "http://x"}})),
    (
        "messages[1].content[0].source.media_type",
        said("user", {"type": "image", "source": {**PNG, "media_type": "application/pdf"}}),
    ),
    (
        "messages[1].content[0].content[0].source.type",
        given_back({"type": "image", "source": {"type": "url", "url": "gopher://x"}}),
    ),
    # another price than the one that is reckoned with
    ("service_tier", {"service_tier": "auto"}),
    ("service_tier", {"service_tier": None}),
    ("speed", {"speed": "fast"}),
    ("inference_geo", {"inference_geo": "us"}),
    ("context_management", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("compaction", {"compaction": {"type": "summarize"}}),
    ("fallbacks[0].max_tokens", {"fallbacks": [{"model": MODELS["anthropic"], "max_tokens": 128_000}]}),
    ("fallbacks[0].speed", {"fallbacks": [{"model": MODELS["anthropic"], "speed": "fast"}]}),
    ("fallback_credit_token", {"fallback_credit_token": "x"}),
    ("cache_control", {"cache_control": {"type": "ephemeral"}}),
    (
        "system[0].cache_control.ttl",
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "24h"}}]},
    ),
    (
        "messages[1].clear_at",
        {
            "messages": [
                USER,
                {"role": "system", "clear_at": "next_user_message", "content": [{"type": "text", "text": "x"}]},
            ]
        },
    ),
    ("messages[1].content[0].citations", said("user", {"type": "text", "text": "x", "citations": []})),
    ("thinking.display", {"thinking": {"type": "adaptive", "display": "omitted"}}),
    ("output_config.task_budget", {"output_config": {"task_budget": {"type": "tokens", "total": 10**9}}}),
    ("output_config.format", {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
    ("metadata", {"metadata": {"user_id": "somebody else"}}),
    # shapes that nobody sends
    ("max_tokens", {"max_tokens": "1000"}),
    ("max_tokens", {"max_tokens": True}),
    ("stream", {"stream": 1}),
    ("messages[0].role", {"messages": [{"role": "tool", "content": "x"}]}),
    ("messages[0].role", {"messages": [{"role": ["user"], "content": "x"}]}),
    ("messages[0]", {"messages": ["hi"]}),
    ("messages", {"messages": "hi"}),
    ("input", {"input": [USER]}),
]
RESPONSES = [
    ("tools[0].type", {"tools": [{"type": "web_search"}]}),
    ("tools[1].type", {"tools": [FUNCTION, {"type": "code_interpreter", "container": {"type": "auto"}}]}),
    ("tools[0].type", {"tools": [{"type": "image_generation"}]}),
    ("tools[0].type", {"tools": [{"type": "local_shell"}]}),
    ("tools[0].type", {"tools": [{"type": "namespace", "name": "x", "tools": [{"type": "mcp"}]}]}),
    ("tools[0].type", {"tools": [{"type": "Function", "name": "x"}]}),
    ("tools[0].server_url", {"tools": [{**FUNCTION, "server_url": "https://attacker.example/mcp"}]}),
    ("tools[0].defer_loading", {"tools": [{**FUNCTION, "defer_loading": True}]}),
    (
        "input[0].tools[0].type",
        {
            "input": [
                {
                    "type": "additional_tools",
                    "role": "developer",
                    "tools": [{"type": "mcp", "server_label": "x", "server_url": "https://attacker.example/mcp"}],
                }
            ]
        },
    ),
    (
        "input[0].tools[1].type",
        {
            "input": [
                {
                    "type": "additional_tools",
                    "role": "developer",
                    "tools": [FUNCTION, {"type": "file_search", "vector_store_ids": ["vs_1"]}],
                }
            ]
        },
    ),
    ("input[0].type", {"input": [{"type": "tool_search_output", "tools": [{"type": "web_search"}]}]}),
    ("input[0].type", {"input": [{"type": "tool_search_call", "arguments": {}}]}),
    ("input[0].type", {"input": [{"type": "mcp_approval_response", "approve": True}]}),
    (
        "input[0].type",
        {
            "input": [
                {
                    "type": "computer_call_output",
                    "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,AAAA"},
                }
            ]
        },
    ),
    ("input[0].type", {"input": [{"type": "item_reference", "id": "rs_1"}]}),
    ("input[0].type", {"input": [{"type": "compaction", "encrypted_content": "x"}]}),
    ("input[0].role", {"input": [{"role": "critic", "content": "x"}]}),
    ("input[0].reasoning.mode", {"input": [{"type": "configuration_update", "reasoning": {"mode": "pro"}}]}),
    ("input[0].service_tier", {"input": [{"type": "configuration_update", "service_tier": "priority"}]}),
    ("input[0].content[0].type", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}),
    (
        "input[0].content[0].image_url",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": " https://x.example"}]}]},
    ),
    (
        "input[0].content[0].file_id",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
    ),
    (
        "input[0].content[0].detail",
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_image", "detail": "original", "image_url": "data:image/png;base64,AAAA"}
                    ],
                }
            ]
        },
    ),
    (
        "input[0].output[0].type",
        {
            "input": [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_file", "file_url": "https://x.example"}],
                }
            ]
        },
    ),
    (
        "input[0].content[0].annotations[0]",
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "x", "annotations": [{"type": "file_citation", "file_id": "f"}]}
                    ],
                }
            ]
        },
    ),
    ("previous_response_id", {"previous_response_id": "resp_1"}),
    ("conversation", {"conversation": "conv_1"}),
    ("prompt", {"prompt": {"id": "pmpt_1"}}),
    ("store", {"store": True}),
    ("background", {"background": True}),
    ("include[0]", {"include": ["file_search_call.results"]}),
    ("multi_agent", {"multi_agent": {"enabled": True}}),
    ("context_management", {"context_management": [{"type": "compaction"}]}),
    ("service_tier", {"service_tier": "ultrafast"}),
    ("service_tier", {"service_tier": "flex"}),
    ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ("reasoning.effort", {"reasoning": {"effort": "ultra"}}),
    ("reasoning.generate_summary", {"reasoning": {"generate_summary": "detailed"}}),
    ("prompt_cache_options.ttl", {"prompt_cache_options": {"ttl": "12h"}}),
    ("prompt_cache_options.comparison_response_id", {"prompt_cache_options": {"comparison_response_id": "resp_1"}}),
    ("prompt_cache_retention", {"prompt_cache_retention": "30d"}),
    ("max_tool_calls", {"max_tool_calls": 5}),
    ("truncation", {"truncation": "auto"}),
    ("messages", {"messages": [USER]}),
]
COMPLETIONS = [
    ("tools[0].type", {"tools": [{"type": "openrouter:web_search"}]}),
    ("tools[0].type", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
    ("tools[0].function.server_url", {"tools": [{"type": "function", "function": {"name": "x", "server_url": "x"}}]}),
    ("web_search_options", {"web_search_options": {"search_context_size": "low"}}),
    ("plugins", {"plugins": [{"id": "web"}]}),
    ("preset", {"preset": "p"}),
    ("models", {"models": [MODELS["openrouter"]]}),
    ("provider", {"provider": {"order": ["a"], "max_price": {"prompt": 99}}}),
    ("route", {"route": "fallback"}),
    ("transforms", {"transforms": ["middle-out"]}),
    ("n", {"n": 2}),
    ("best_of", {"best_of": 3}),
    ("modalities", {"modalities": ["text", "audio"]}),
    ("audio", {"audio": {"voice": "x"}}),
    ("prediction", {"prediction": {"type": "content", "content": "x"}}),
    ("service_tier", {"service_tier": "priority"}),
    ("store", {"store": True}),
    ("reasoning.max_tokens", {"reasoning": {"max_tokens": 10**6}}),
    ("stream_options.include_obfuscation", {"stream_options": {"include_obfuscation": True}}),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
    (
        "messages[0].content[0].type",
        {
            "messages": [
                {"role": "user", "content": [{"type": "file", "file": {"file_data": "https://x.example/a.pdf"}}]}
            ]
        },
    ),
    (
        "messages[0].content[0].type",
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://x.example"}}]}]},
    ),
    (
        "messages[0].content[0].image_url.url",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "HTTPS://x.example"}}]}]},
    ),
    (
        "messages[0].content[0].image_url",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "https://x.example"}]}]},
    ),
    (
        "messages[0].content[0].image_url.detail",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"detail": "high", "url": "data:image/png;base64,AAAA"}}
                    ],
                }
            ]
        },
    ),
    ("messages[0].audio", {"messages": [{"role": "assistant", "audio": {"id": "a"}}]}),
    (
        "messages[0].reasoning_details[0].type",
        {
            "messages": [
                {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.file", "id": "x"}]}
            ]
        },
    ),
    ("messages[0].tool_calls[0].type", {"messages": [{"role": "assistant", "tool_calls": [{"type": "mcp"}]}]}),
]
CASES = [
    *(("anthropic", path, body) for path, body in ANTHROPIC),
    *(("openrouter messages", path, body) for path, body in ANTHROPIC if "fallbacks" not in path),
    *(("openai responses", path, body) for path, body in RESPONSES),
    *((kind, path, body) for kind in ("openai completions", "openrouter") for path, body in COMPLETIONS),
]


@pytest.mark.parametrize(("kind", "path", "body"), CASES)
def test_what_is_not_on_the_list_is_refused_by_its_name(kind, path, body):
    dialect = {"responses": "responses", "completions": "completions", "messages": "messages"}.get(
        kind.split()[-1], "completions" if kind == "openrouter" else "messages"
    )
    found = fault(BODIES[dialect], request("m", True, kind) | body)
    assert found is not None
    assert written(found.path) == path


@pytest.mark.parametrize("freedom", [{}, {"capped": True}])
@pytest.mark.parametrize(
    ("kind", "path", "body"),
    [
        ("anthropic", "speed", {"speed": "fast"}),
        (
            "openai responses",
            "input[0].tools[0].type",
            {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "mcp"}]}]},
        ),
        ("openrouter", "plugins", {"plugins": [{"id": "web"}]}),
    ],
)
def test_a_refusal_says_the_path_and_nothing_reaches_the_provider(door, fake, kind, path, body, freedom):
    model = for_provider(door, fake, kind.split()[0])
    door.allow(**freedom)
    answer = door.post(PATHS[kind], request(model, True, kind) | body)
    assert answer.status_code == 403
    assert f"`{path}`" in answer.json()["error"]["message"]
    assert (fake.seen, door.usages) == ([], [])
    assert door.post(PATHS[kind], request(model, True, kind)).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("anthropic-beta", "fast-mode-2026-02-01"),
        ("anthropic-beta", "compact-2026-01-12"),
        ("anthropic-beta", "inline-tools-2026-09-15,web-fetch-2025-09-10"),
        ("anthropic-beta", "*"),
        ("anthropic-version", "2029-01-01"),
        ("openai-beta", "responses_multi_agent=v1"),
        ("openai-organization", "mine"),
        ("openai-project", "mine"),
        ("x-openrouter-cache", "true"),
        ("http-referer", "https://x.example"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-session-id", "a b"),
        ("idempotency-key", "a"),
        ("x-stainless-helper", "a"),
    ],
)
def test_a_header_that_pi_does_not_send_is_refused_by_its_name(door, fake, name, value):
    answer = door.post("/anthropic/v1/messages", request("claude-opus-4-5"), headers={name: value})
    assert answer.status_code == 403
    assert f"`{name}`" in answer.json()["error"]["message"]
    assert fake.seen == []


def test_the_name_of_a_field_is_quoted_short_and_plain(door):
    name = "x" * 5000 + "`\n\x00"
    message = door.post("/anthropic/v1/messages", {**request("claude-opus-4-5"), name: 1}).json()["error"]["message"]
    assert "x" * MAX_NAME_CHARACTERS in message
    assert len(message) < 200


def places(shape: Any, path: tuple = ()) -> list[tuple]:
    """Where in a value there are objects."""
    found = [path] if isinstance(shape, dict) else []
    steps = shape.items() if isinstance(shape, dict) else enumerate(shape) if isinstance(shape, list) else ()
    return found + [place for step, inner in steps for place in places(inner, (*path, step))]


FULL = {
    "messages": {
        **request("m"),
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "tools": [{**TOOL, "description": "x"}],
        "thinking": {"type": "adaptive", "block_binding": {}},
        "output_config": {"effort": "low"},
        "fallbacks": [{"model": "m"}],
        "messages": [
            {"role": "user", "content": [{"type": "image", "source": PNG}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}, {"type": "tool_use", "id": "t"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "x"}]}]},
            {
                "role": "system",
                "output_config": {"effort": "low"},
                "content": [
                    {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "x"}}}
                ],
            },
        ],
    },
    "responses": {
        **request("m", True, "openai responses"),
        "tools": [{"type": "function", "name": "x"}],
        "reasoning": {"effort": "low"},
        "prompt_cache_options": {"mode": "explicit"},
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "x"}]},
            {"type": "configuration_update", "reasoning": {"effort": "low"}},
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            {"type": "function_call", "name": "x", "arguments": "{}"},
            {"type": "function_call_output", "output": [{"type": "input_text", "text": "x"}]},
        ],
    },
    "completions": {
        **request("m", True, "openrouter"),
        "reasoning": {"effort": "low"},
        "tools": [{"type": "function", "function": {"name": "x"}}],
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_details": [{"type": "reasoning.text", "text": "x"}],
                "tool_calls": [{"type": "function", "id": "x", "function": {"name": "x", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "x"}]},
        ],
    },
}
FIELD = st.text(min_size=1, max_size=8) | st.sampled_from(
    ["server_url", "file_id", "url", "service_tier", "ttl", "type ", "Type", "container", "defer_loading", "__proto__"]
)


@given(st.sampled_from(sorted(FULL)), FIELD, st.none() | st.integers() | st.text(max_size=5), st.data())
def test_an_unknown_field_is_found_in_every_object(dialect, name, value, data):
    body = copy.deepcopy(FULL[dialect])
    assert fault(BODIES[dialect], body) is None
    path = data.draw(st.sampled_from([place for place in places(body) if place[-1:] != ("input_schema",)]))
    holder = body
    for step in path:
        holder = holder[step]
    if name not in holder:
        holder[name] = value
        found = fault(BODIES[dialect], body)
        known = name in ("ttl", "type", "url", "text", "content", "id", "name")
        assert known or (found is not None and found.path == (*path, name) and found.unknown)


@given(
    st.sampled_from(sorted(BODIES)),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["text", "user"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "role", "content", "messages", "input", "tools", "system", "text", "x"]),
                inner,
                max_size=5,
            )
        ),
    ),
)
def test_no_json_makes_the_comparison_raise(dialect, value):
    found = fault(BODIES[dialect], value)
    assert found is None or json.dumps(written(found.path))
