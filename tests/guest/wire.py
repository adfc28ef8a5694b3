"""A model's answers in the three wire formats that Pi speaks: enough for text and tool calls."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Say:
    """The model answers in words."""

    text: str


@dataclass(frozen=True)
class Call:
    """The model calls tools, all at once."""

    tools: tuple[tuple[str, dict[str, Any]], ...]


def call(tool: str, **arguments: Any) -> Call:
    return Call(((tool, arguments),))


def bash(command: str, **arguments: Any) -> Call:
    return call("bash", command=command, **arguments)


def stream(path: str, answer: Say | Call, number: int, model: str) -> Iterator[bytes]:
    """The answer as server-sent events, in the format of the API that lies at `path`."""
    speak = next(speak for end, speak in FORMATS.items() if path.endswith(end))
    for event in speak(answer, number, model):
        yield f"event: {event.get('type', 'message')}\ndata: {json.dumps(event)}\n\n".encode()
    if path.endswith("/chat/completions"):
        yield b"data: [DONE]\n\n"


def _calls(answer: Say | Call, number: int) -> list[tuple[str, str, str]]:
    tools = answer.tools if isinstance(answer, Call) else ()
    return [(f"call_{number}_{i}", name, json.dumps(arguments)) for i, (name, arguments) in enumerate(tools)]


def _anthropic(answer: Say | Call, number: int, model: str) -> Iterator[dict]:
    usage = {"input_tokens": 1000, "output_tokens": 5}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": []}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}}
    blocks = [
        ({"type": "tool_use", "id": id, "name": name, "input": {}}, "input_json_delta", "partial_json", arguments)
        for id, name, arguments in _calls(answer, number)
    ]
    if isinstance(answer, Say):
        blocks = [({"type": "text", "text": ""}, "text_delta", "text", answer.text)]
    for index, (block, kind, key, content) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: content}}
        yield {"type": "content_block_stop", "index": index}
    reason = "end_turn" if isinstance(answer, Say) else "tool_use"
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    yield {"type": "message_stop"}


def _responses(answer: Say | Call, number: int, model: str) -> Iterator[dict]:
    items: list[dict] = [
        {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": name, "arguments": arguments}
        for id, name, arguments in _calls(answer, number)
    ]
    if isinstance(answer, Say):
        content = [{"type": "output_text", "text": answer.text, "annotations": []}]
        items = [{"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}]
    response = {"id": f"resp_{number}", "object": "response", "model": model, "output": []}
    yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
    for index, item in enumerate(items):
        begun = {**item, "status": "in_progress"}
        done = {**item, "status": "completed"}
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        if isinstance(answer, Say):
            yield {
                "type": "response.content_part.added",
                "output_index": index,
                "content_index": 0,
                "item_id": item["id"],
                "part": {"type": "output_text", "text": "", "annotations": []},
            }
            yield {
                "type": "response.output_text.delta",
                "output_index": index,
                "content_index": 0,
                "item_id": item["id"],
                "delta": answer.text,
            }
        yield {"type": "response.output_item.done", "output_index": index, "item": done}
    usage = {"input_tokens": 1000, "output_tokens": 5, "total_tokens": 1005}
    completed = {**response, "status": "completed", "output": items, "usage": usage}
    yield {"type": "response.completed", "response": completed}


def _completions(answer: Say | Call, number: int, model: str) -> Iterator[dict]:
    chunk = {"id": f"c_{number}", "object": "chat.completion.chunk", "created": 1, "model": model}
    delta: dict = {"role": "assistant"}
    if isinstance(answer, Say):
        delta["content"] = answer.text
    else:
        delta["tool_calls"] = [
            {"index": i, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for i, (id, name, arguments) in enumerate(_calls(answer, number))
        ]
    reason = "stop" if isinstance(answer, Say) else "tool_calls"
    yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}
    yield {**chunk, "choices": [], "usage": usage}


FORMATS = {"/messages": _anthropic, "/responses": _responses, "/chat/completions": _completions}
