"""Parts of messages whose tokens do not follow from their bytes: images, thinking, and the one-hour cache."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

IMAGES = frozenset({"image", "image_url", "input_image"})
THINKING = frozenset({"thinking", "redacted_thinking", "reasoning"})
REASONING = frozenset({"reasoning", "reasoning_content", "reasoning_text", "reasoning_details"})
SHORT_TTL = "5m"
NESTED = (list, dict)
FREE = frozenset({"parameters", "input_schema"})  # anything may be in them, and it is none of this


@dataclass
class Content:
    cached_long: bool = False  # for longer than five minutes, which costs more to write
    thinking_bytes: int = 0  # of blocks that count in one prompt and not in another
    images: list[str] = field(default_factory=list)  # their data, as it is in the body


def found(value: Any) -> Content:
    """In a body, or in some of its messages."""
    content = Content()
    for part in _parts(value):
        _note(content, part)
    return content


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within, but not the arguments of a tool call: those are the model's own words."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if type(one) is list:
            waiting += [inner for inner in one if type(inner) in NESTED]
        elif type(one) is dict:
            yield one
            waiting += [
                one[key]
                for key in one
                if type(one[key]) in NESTED and key not in FREE and (key != "input" or one.get("type") != "tool_use")
            ]


def _note(content: Content, part: dict[str, Any]) -> None:
    content.cached_long |= part.get("ttl", SHORT_TTL) != SHORT_TTL
    kind = part.get("type")
    if part.get("role") == "assistant":
        content.thinking_bytes += sum(len(orjson.dumps(part[key])) for key in REASONING.intersection(part))
    if type(kind) is not str:
        return
    if kind in THINKING:
        content.thinking_bytes += len(orjson.dumps(part))
    elif kind in IMAGES:
        content.images.append(_data(part))


def _data(image: dict[str, Any]) -> str:
    for holder in (image.get("source"), image.get("image_url"), image):
        if isinstance(holder, str):
            return holder
        if isinstance(holder, dict):
            for key in ("data", "url"):
                if isinstance(found := holder.get(key), str):
                    return found
    return ""
