"""OpenAI's Chat Completions API, as Pi uses it with OpenRouter and other servers."""

from agentcontainer_local.gateway.allowed.shape import FREE, Kinds
from agentcontainer_local.gateway.allowed.words import CACHE_CONTROL, EFFORT, FALSE, IMAGE_DATA

TEXT = {"type": str, "text": str, "cache_control": CACHE_CONTROL}
IMAGE = {"type": str, "image_url": {"url": IMAGE_DATA}}
WORDS = (str, [Kinds({"text": TEXT})])

# A tool that the task itself runs. No other kind is allowed.
TOOL = Kinds(
    {
        "function": {
            "type": str,
            "cache_control": CACHE_CONTROL,
            "function": {"name": str, "description": str, "parameters": FREE, "strict": bool},
        },
    }
)
TOOL_CALL = Kinds(
    {
        "function": {"type": str, "id": str, "function": {"name": str, "arguments": str}},
    }
)

# Pi sends these back unchanged.
DETAIL = {"type": str, "id": (str, None), "format": (str, None), "index": int}
REASONING_DETAIL = Kinds(
    {
        "reasoning.text": {**DETAIL, "text": str, "signature": (str, None)},
        "reasoning.summary": {**DETAIL, "summary": str},
        "reasoning.encrypted": {**DETAIL, "data": str},
    }
)

MESSAGE = Kinds(
    {
        "system": {"role": str, "content": WORDS},
        "developer": {"role": str, "content": WORDS},
        "user": {"role": str, "content": (str, [Kinds({"text": TEXT, "image_url": IMAGE})])},
        "assistant": {
            "role": str,
            "content": (*WORDS, None),
            "tool_calls": [TOOL_CALL],
            "reasoning": str,
            "reasoning_content": str,
            "reasoning_text": str,
            "reasoning_details": [REASONING_DETAIL],
        },
        "tool": {"role": str, "tool_call_id": str, "content": WORDS},
    },
    ("role",),
)

COMPLETIONS = {
    "model": str,
    "max_completion_tokens": int,
    "max_tokens": int,
    "stream": bool,
    "stream_options": ({"include_usage": bool}, None),
    "store": FALSE,
    "messages": [MESSAGE],
    "tools": ([TOOL], None),
    "reasoning": {"effort": EFFORT},
    "reasoning_effort": EFFORT,
    "prompt_cache_key": str,
    "prompt_cache_retention": frozenset({"24h"}),
}
