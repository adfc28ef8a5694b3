"""Estimates the maximum number of tokens of a prompt: from its bytes, or better from an earlier prompt that it extends.

A token has at least one byte, so the number of bytes is a safe bound, but typically four times too high. An agent's
next prompt is usually the last one plus something, and the provider has reported the last one's tokens. So the bound is
those tokens plus the added bytes. This is only valid if everything else in both requests is equal: fields such as
`truncation` or `tool_choice` decide what counts.
"""

import asyncio
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import orjson

from agentcontainer_local.gateway.content import Content, found

FRAME_TOKENS = 2000  # what providers add themselves, such as instructions for tool calls
MAX_PROMPT_BYTES = 8 * 1024 * 1024  # largest prompt that is remembered
ITEMS = {"messages": "messages", "completions": "messages", "responses": "input"}

# Fields without influence on the prompt. All others must be equal.
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
    """A prompt whose number of tokens the provider has reported."""

    frame: dict[str, Any] = field(repr=False)
    items: list[Any] = field(repr=False)
    tokens: int


@dataclass
class Known:
    """A run's facts: the tokens that models wrote for its task, and the last prompt by dialect and model."""

    written: int = 0
    prompts: dict[tuple[str, str], Prompt] = field(default_factory=dict, repr=False)
    # held while a large request of the run is processed
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


def by_bytes(size: int, content: Content, model: str) -> int:
    """The bound from the number of bytes. `size`: of the request's body, including images."""
    images = sum(map(len, content.images))
    return max(0, size - images) + len(content.images) * image_tokens(model) + FRAME_TOKENS


def image_tokens(model: str) -> int:
    """An upper bound for any image size and detail. OpenAI's gpt-4o-mini counts a multiple for images."""
    if "4o-mini" in model:
        return 50_000
    if "claude" in model:
        return 6000
    return 12_000 if "gpt" in model else 17_000


def frame_of(body: dict[str, Any], dialect: str, beta: bytes) -> dict[str, Any] | None:
    """The parts of a request that decide which messages count. None if the messages are not a list, or if a fallback
    model may answer, which counts differently."""
    if not isinstance(body.get(ITEMS[dialect]), list) or "fallbacks" in body:
        return None
    rest = body.keys() - BESIDE - {ITEMS[dialect]}
    return {"beta": beta, **{name: body[name] for name in rest}}


def by_what_is_known(known: Known, body: dict[str, Any], dialect: str, beta: bytes, content: Content) -> int | None:
    """The bound from an earlier prompt. None if the request does not extend one."""
    prompt = known.prompts.get((dialect, body["model"]))
    if prompt is None or prompt.frame != frame_of(body, dialect, beta):
        return None
    items = body[ITEMS[dialect]]
    added = items[_in_common(prompt.items, items) :]
    size = len(orjson.dumps(added))
    # Thinking that was left out of one prompt can be in the next. All of it was written for this task.
    hidden = min(known.written, content.thinking_bytes)
    return prompt.tokens + by_bytes(size, found(added), body["model"]) + hidden


def learn(known: Known, body: dict[str, Any], dialect: str, beta: bytes, size: int, tokens: int) -> None:
    """Remembers a completely answered prompt. `tokens`: all its input tokens. Ignores prompts without a frame."""
    frame = frame_of(body, dialect, beta) if size <= MAX_PROMPT_BYTES else None
    if frame is not None:
        known.prompts[dialect, body["model"]] = Prompt(frame, body[ITEMS[dialect]], tokens)


def _in_common(ours: list[Any], theirs: list[Any]) -> int:
    for number, (one, other) in enumerate(zip_longest(ours, theirs)):
        if one is None or other is None or (one != other and _unmarked(one) != _unmarked(other)):
            return number
    return len(theirs)


def _unmarked(value: Any) -> Any:
    """The value without cache marks, which move with each request and do not change the count."""
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if isinstance(value, dict):
        return {name: _unmarked(one) for name, one in value.items() if name != "cache_control"}
    return value
