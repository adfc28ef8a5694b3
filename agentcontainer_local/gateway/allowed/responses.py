"""OpenAI's Responses API, as Pi uses it with OpenAI."""

from agentcontainer_local.gateway.allowed.shape import FREE, Kinds
from agentcontainer_local.gateway.allowed.words import EFFORT, FALSE, IMAGE_DATA, NOTHING

TEXT = {"type": str, "text": str}
IMAGE = {"type": str, "detail": frozenset({"auto"}), "image_url": IMAGE_DATA}
SHOWN = (str, [Kinds({"input_text": TEXT, "input_image": IMAGE})])

# A tool that the task itself runs. No other kind is allowed.
TOOL = Kinds(
    {
        "function": {"type": str, "name": str, "description": str, "parameters": FREE, "strict": bool},
    }
)

INSTRUCTIONS = {"role": str, "content": str}
OUTPUT_TEXT = {"type": str, "text": str, "annotations": ([NOTHING], None)}

# Pi sends this back unchanged, so fields of other servers are included.
REASONING = {
    "type": str,
    "id": str,
    "encrypted_content": (str, None),
    "status": (str, None),
    "role": frozenset({"assistant"}),
    "summary": [Kinds({"summary_text": TEXT})],
    "content": ([Kinds({"reasoning_text": TEXT, "text": TEXT, "output_text": OUTPUT_TEXT})], None),
}

ITEM = Kinds(
    {
        "user": {"role": str, "content": SHOWN},
        "developer": INSTRUCTIONS,
        "system": INSTRUCTIONS,
        "message": {
            "type": str,
            "role": frozenset({"assistant"}),
            "id": str,
            "status": frozenset({"completed"}),
            "phase": frozenset({"commentary", "final_answer"}),
            "content": [Kinds({"output_text": OUTPUT_TEXT})],
        },
        "reasoning": REASONING,
        "function_call": {
            "type": str,
            "id": str,
            "call_id": str,
            "name": str,
            "arguments": str,
            "namespace": str,
        },
        "function_call_output": {"type": str, "call_id": str, "output": SHOWN},
        # If a task's tools may change, they are all here and not in `tools`.
        "additional_tools": {"type": str, "role": frozenset({"developer"}), "tools": [TOOL]},
        "configuration_update": {"type": str, "reasoning": {"effort": EFFORT}},
    },
    ("type", "role"),
)

RESPONSES = {
    "model": str,
    "max_output_tokens": int,
    "stream": bool,
    "store": FALSE,
    "input": (str, [ITEM]),
    "tools": ([TOOL], None),
    "reasoning": {"effort": EFFORT, "summary": frozenset({"auto"})},
    "include": [frozenset({"reasoning.encrypted_content"})],
    "prompt_cache_key": str,
    "prompt_cache_retention": frozenset({"24h"}),
    "prompt_cache_options": {"mode": frozenset({"explicit"}), "ttl": frozenset({"30m"})},
}
