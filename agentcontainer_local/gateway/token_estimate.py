"""The maximum tokens of a prompt: from its bytes, or better from an earlier prompt that it extends.

A token is at least one byte, so bytes are a bound that always holds, if a wide one (some four times what is used). An
agent's next prompt is its last one with something added, and of that one the provider has said how many tokens it has:
so that many, and the bytes of what was added. It holds only where all else in the two requests is the same, since a
field like `truncation` or `tool_choice` decides whether something counts.
"""

import asyncio
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import orjson

from agentcontainer_local.gateway.content import Content, found

FRAME_TOKENS = 2000  # what a provider adds on its own, such as how tools are called
MAX_PROMPT_BYTES = 8 * 1024 * 1024  # of a prompt that is remembered
ITEMS = {"messages": "messages", "completions": "messages", "responses": "input"}

# Fields that say nothing of the prompt; two prompts with all else the same are read alike.
BESIDE = frozenset(
    {
        "max_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "store",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
    }
)


@dataclass(frozen=True)
class Prompt:
    """One whose number of tokens the provider has told."""

    frame: dict[str, Any] = field(repr=False)
    items: list[Any] = field(repr=False)
    tokens: int


@dataclass
class Known:
    """Of one run: how many tokens models have written for its task until now, and the last prompt of each kind."""

    written: int = 0
    prompts: dict[tuple[str, str], Prompt] = field(default_factory=dict, repr=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)  # of its large requests, to be worked on


def by_bytes(size: int, content: Content, model: str) -> int:
    """`size`: of the request's body, the images in it included."""
    images = sum(map(len, content.images))
    return max(0, size - images) + len(content.images) * image_tokens(model) + FRAME_TOKENS


def image_tokens(model: str) -> int:
    """More than any size and detail takes; OpenAI's gpt-4o-mini counts an image many times."""
    if "4o-mini" in model:
        return 50_000
    if "claude" in model:
        return 6000
    return 12_000 if "gpt" in model else 17_000


def frame_of(body: dict[str, Any], dialect: str, beta: bytes) -> dict[str, Any] | None:
    """All of a request that decides what of its messages counts; None where they are no list, or where another model,
    which counts otherwise, may answer."""
    if not isinstance(body.get(ITEMS[dialect]), list) or "fallbacks" in body:
        return None
    rest = body.keys() - BESIDE - {ITEMS[dialect]}
    return {"beta": beta, **{name: body[name] for name in rest}}


def by_what_is_known(known: Known, body: dict[str, Any], dialect: str, beta: bytes, content: Content) -> int | None:
    """None where the request does not go on from a known one."""
    prompt = known.prompts.get((dialect, body["model"]))
    if prompt is None or prompt.frame != frame_of(body, dialect, beta):
        return None
    items = body[ITEMS[dialect]]
    added = items[_in_common(prompt.items, items) :]
    size = len(orjson.dumps(added))
    # Thinking that was left out of one prompt may be in the next; all that there is has been written for this task.
    hidden = min(known.written, content.thinking_bytes)
    return prompt.tokens + by_bytes(size, found(added), body["model"]) + hidden


def learn(known: Known, body: dict[str, Any], dialect: str, beta: bytes, size: int, tokens: int) -> None:
    """From a prompt that was answered whole; `tokens`: of all its input. One that says too little is not kept."""
    frame = frame_of(body, dialect, beta) if size <= MAX_PROMPT_BYTES else None
    if frame is not None:
        known.prompts[dialect, body["model"]] = Prompt(frame, body[ITEMS[dialect]], tokens)


def _in_common(ours: list[Any], theirs: list[Any]) -> int:
    for number, (one, other) in enumerate(zip_longest(ours, theirs)):
        if one is None or other is None or (one != other and _unmarked(one) != _unmarked(other)):
            return number
    return len(theirs)


def _unmarked(value: Any) -> Any:
    """Without the marks of what is to be cached: they move with each request, and change no count."""
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if isinstance(value, dict):
        return {name: _unmarked(one) for name, one in value.items() if name != "cache_control"}
    return value
