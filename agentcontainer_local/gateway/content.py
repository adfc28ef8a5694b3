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
FREE = frozenset({"parameters", "input_schema"})  # JSON schemas: their keys are not message parts


@dataclass
class Content:
    cached_long: bool = False  # cached for longer than five minutes, which costs more to write
    thinking_bytes: int = 0  # bytes of blocks that count in some prompts only
    images: list[str] = field(default_factory=list)  # the images' data, as in the body


def found(value: Any) -> Content:
    """The content of a body, or of some of its messages."""
    content = Content()
    for part in _parts(value):
        _note(content, part)
    return content


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in it, without the arguments of tool calls: the model wrote those."""
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
