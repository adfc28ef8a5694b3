"""Anthropic's Messages API, as Pi uses it with Anthropic and, for Claude models, with OpenRouter."""

from agentcontainer_local.gateway.allowed.shape import FREE, Exactly, Kinds
from agentcontainer_local.gateway.allowed.words import CACHE_CONTROL, EFFORT, IMAGE_TYPE, TRUE

TEXT = {"type": str, "text": str}
IMAGE = {"type": str, "source": {"type": frozenset({"base64"}), "media_type": IMAGE_TYPE, "data": str}}
CACHED = {"cache_control": CACHE_CONTROL}

TOOL_RESULT = {
    "type": str,
    "tool_use_id": str,
    "is_error": bool,
    **CACHED,
    "content": (str, [Kinds({"text": TEXT, "image": IMAGE})]),
}

# A tool that the task itself runs: it has no `type`. The provider's tools have one.
TOOL = {
    "name": str,
    "description": str,
    "input_schema": FREE,
    "strict": TRUE,
    "eager_input_streaming": TRUE,
}

# Pi adds this one if tools may change, because then Anthropic requires at least one deferred tool.
PLACEHOLDER = {
    "name": "__pi_deferred_placeholder__",
    "description": "Reserved placeholder. Never available. Never call this.",
    "input_schema": {"type": "object", "properties": {}, "required": []},
    "defer_loading": True,
}

# Tools that are added or removed later, for example when a conversation becomes autonomous.
TOOL_ADDITION = {
    "type": str,
    **CACHED,
    "tool": {"type": frozenset({"tool_definition"}), "definition": TOOL},
}
TOOL_REMOVAL = {
    "type": str,
    **CACHED,
    "tool": {"type": frozenset({"tool_reference"}), "name": str},
}

MESSAGE = Kinds(
    {
        "user": {
            "role": str,
            "content": (
                str,
                [
                    Kinds(
                        {
                            "text": {**TEXT, **CACHED},
                            "image": {**IMAGE, **CACHED},
                            "tool_result": TOOL_RESULT,
                        }
                    )
                ],
            ),
        },
        "assistant": {
            "role": str,
            "content": (
                str,
                [
                    Kinds(
                        {
                            "text": TEXT,
                            "thinking": {"type": str, "thinking": str, "signature": str},
                            "redacted_thinking": {"type": str, "data": str},
                            "tool_use": {"type": str, "id": str, "name": str, "input": FREE},
                        }
                    )
                ],
            ),
        },
        "system": {
            "role": str,
            "output_config": {"effort": EFFORT},
            "content": [
                Kinds({"text": {**TEXT, **CACHED}, "tool_addition": TOOL_ADDITION, "tool_removal": TOOL_REMOVAL})
            ],
        },
    },
    ("role",),
)

THINKING = Kinds(
    {
        "disabled": {"type": str},
        "enabled": {"type": str, "budget_tokens": int, "display": frozenset({"summarized"})},
        "adaptive": {
            "type": str,
            "display": frozenset({"summarized"}),
            "block_binding": {"prefix_mismatch_behavior": frozenset({"drop_block"})},
        },
    }
)

MESSAGES = {
    "model": str,
    "max_tokens": int,
    "stream": bool,
    "system": (str, [Kinds({"text": {**TEXT, **CACHED}})]),
    "messages": [MESSAGE],
    "tools": ([Exactly(PLACEHOLDER, {**TOOL, **CACHED})], None),
    "thinking": THINKING,
    "output_config": {"effort": EFFORT},
    # Fallback models of the vendor. Their price is checked elsewhere.
    "fallbacks": [{"model": str}],
}
