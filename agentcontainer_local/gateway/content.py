"""What a call's messages bring that is not plain text: images, documents, and things that the provider would fetch."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

PLACES = ("messages", "input", "system", "instructions")
ADDRESSES = frozenset({"url", "image_url", "file_url", "video_url", "audio_url", "file_data"})
ELSEWHERE = re.compile(r"\s*(?!data:)([a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
IMAGES = frozenset({"image", "image_url", "input_image"})
DOCUMENTS = frozenset({"document", "file", "input_file", "input_audio", "video_url", "input_video", "video"})
STORED = frozenset({"container_upload", "item_reference"})
THINKING = frozenset({"thinking", "redacted_thinking", "reasoning"})
REASONING = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
PLAIN = frozenset({"text", "input_text", "output_text", "tool_use", "tool_result", "message"})
TELLING = ADDRESSES | REASONING | {"file_id", "ttl"}
SHORT_TTL = "5m"
NESTED = (list, dict)


@dataclass
class Content:
    fetched: bool = False           # the provider would go and get something
    stored: bool = False            # something that lies in the provider account
    unbounded: bool = False         # a document or a sound: nobody can say how many tokens it has
    cached_long: bool = False       # for longer than five minutes, which costs more to write
    thinking_bytes: int = 0         # of blocks that count in one prompt and not in another
    images: list[str] = field(default_factory=list)     # their data, as it is in the body


def found(value: Any) -> Content:
    """In the messages of a body, or in some of them."""
    content = Content()
    for part in _parts(value):
        _note(content, part)
    return content


def of_body(body: dict[str, Any]) -> Content:
    content = found([body.get(place) for place in PLACES])
    tools = body.get("tools")
    for holder in (body, *(tools if isinstance(tools, list) else ())):
        cached = holder.get("cache_control") if isinstance(holder, dict) else None
        if isinstance(cached, dict):
            _note(content, cached)
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
            waiting += [one[key] for key in one
                        if type(one[key]) in NESTED and (key != "input" or one.get("type") != "tool_use")]


def _note(content: Content, part: dict[str, Any]) -> None:
    for key in TELLING.intersection(part):
        value = part[key]
        if key in ADDRESSES and isinstance(value, str) and _is_elsewhere(key, value):
            content.fetched = True
        elif key == "file_id" and value is not None:
            content.stored = True
        elif key == "ttl":
            content.cached_long |= value != SHORT_TTL
        elif key in REASONING:
            content.thinking_bytes += len(orjson.dumps(value))
    kind = part.get("type")
    if type(kind) is not str or kind in PLAIN:
        return
    if kind in STORED:
        content.stored = True
    elif kind in THINKING:
        content.thinking_bytes += len(orjson.dumps(part))
    elif kind in IMAGES:
        content.images.append(_data(part))
    elif kind in DOCUMENTS and not _is_text(part):
        content.unbounded = True


def _is_elsewhere(key: str, value: str) -> bool:
    """`file_data` is data or an address; the others are addresses, of which only `data:` is not elsewhere."""
    return bool(ELSEWHERE.match(value)) if key == "file_data" else not value.startswith("data:")


def _data(image: dict[str, Any]) -> str:
    for holder in (image.get("source"), image.get("image_url"), image):
        if isinstance(holder, str):
            return holder
        if isinstance(holder, dict):
            for key in ("data", "url"):
                if isinstance(holder.get(key), str):
                    return holder[key]
    return ""


def _is_text(document: dict[str, Any]) -> bool:
    source = document.get("source")
    return isinstance(source, dict) and source.get("type") in ("text", "content")
