"""A model's answer in the wire formats of the providers, complete or as a stream."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agentcontainer_local.gateway.routes import Dialect

MAX_TEXT_PIECES = 40  # of a streamed text
PIECE_CHARACTERS = 16


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A model's answer. `input_tokens` excludes cached tokens; `cost_usd` is reported as OpenRouter does."""

    id: str
    model: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None


def whole(dialect: Dialect, answer: Answer) -> dict[str, Any]:
    return WHOLE[dialect](answer)


def stream(dialect: Dialect, answer: Answer, with_usage: bool = True) -> Iterator[bytes]:
    """The answer as server-sent events. `with_usage`: chat completions include usage only on request."""
    if dialect == "completions":
        for event in _completions_events(answer, with_usage):
            yield b"data: %s\n\n" % json.dumps(event).encode()
        yield b"data: [DONE]\n\n"
        return
    for number, event in enumerate(STREAMS[dialect](answer)):
        if dialect == "responses":
            event["sequence_number"] = number
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())


def pieces(text: str) -> Iterator[str]:
    size = max(PIECE_CHARACTERS, -(-len(text) // MAX_TEXT_PIECES))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _cost(answer: Answer) -> dict[str, Any]:
    return {} if answer.cost_usd is None else {"cost": answer.cost_usd, "is_byok": False}


# Anthropic messages


def _messages_usage(answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "cache_read_input_tokens": answer.cache_read_tokens,
        "cache_creation_input_tokens": answer.cache_write_tokens,
        **_cost(answer),
    }


def _messages_whole(answer: Answer) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    content += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in answer.calls]
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": _messages_usage(answer),
    }


def _messages_events(answer: Answer) -> Iterator[dict[str, Any]]:
    message = _messages_whole(answer)
    first = {**_messages_usage(answer), "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": first}}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": p} for p in pieces(block["text"])]
        else:
            given = json.dumps(block["input"])
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in pieces(given)]
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": _messages_usage(answer)}
    yield {"type": "message_stop"}


# OpenAI responses


def _responses_whole(answer: Answer) -> dict[str, Any]:
    prompt = answer.input_tokens + answer.cache_read_tokens + answer.cache_write_tokens
    text = {"type": "output_text", "text": answer.text, "annotations": []}
    message = {"type": "message", "id": f"msg_{answer.id}", "role": "assistant", "status": "completed"}
    output: list[dict[str, Any]] = [{**message, "content": [text]}] if answer.text else []
    output += [
        {
            "type": "function_call",
            "id": f"fc_{answer.id}_{n}",
            "call_id": c.id,
            "name": c.name,
            "arguments": json.dumps(c.arguments),
            "status": "completed",
        }
        for n, c in enumerate(answer.calls)
    ]
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": answer.model,
        "output": output,
        "usage": {
            "input_tokens": prompt,
            "output_tokens": answer.output_tokens,
            "total_tokens": prompt + answer.output_tokens,
            "input_tokens_details": {
                "cached_tokens": answer.cache_read_tokens,
                "cache_write_tokens": answer.cache_write_tokens,
            },
            "output_tokens_details": {"reasoning_tokens": 0},
            **_cost(answer),
        },
    }


def _responses_events(answer: Answer) -> Iterator[dict[str, Any]]:
    response = _responses_whole(answer)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        at = {"item_id": item["id"], "output_index": index}
        bare: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, **bare, "status": "in_progress"},
        }
        yield from (_text_events if item["type"] == "message" else _arguments_events)(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": response}


def _text_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part, at = item["content"][0], {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **at, "delta": piece}
    yield {"type": "response.output_text.done", **at, "text": part["text"]}
    yield {"type": "response.content_part.done", **at, "part": part}


def _arguments_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]}


# OpenAI chat completions


def _completions_usage(answer: Answer) -> dict[str, Any]:
    prompt = answer.input_tokens + answer.cache_read_tokens + answer.cache_write_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer.output_tokens,
        "total_tokens": prompt + answer.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": answer.cache_read_tokens,
            "cache_write_tokens": answer.cache_write_tokens,
        },
        **_cost(answer),
    }


def _function(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _completions_whole(answer: Answer) -> dict[str, Any]:
    calls = [_function(call, json.dumps(call.arguments)) for call in answer.calls]
    message = {"role": "assistant", "content": answer.text or None, **({"tool_calls": calls} if calls else {})}
    reason = "tool_calls" if calls else "stop"
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": 0,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _completions_usage(answer),
    }


def _completions_events(answer: Answer, with_usage: bool) -> Iterator[dict[str, Any]]:
    head = {"id": f"chatcmpl-{answer.id}", "object": "chat.completion.chunk", "created": 0, "model": answer.model}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in pieces(answer.text)]
    for index, call in enumerate(answer.calls):
        deltas.append({"tool_calls": [{"index": index, **_function(call, "")}]})
        for piece in pieces(json.dumps(call.arguments)):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = "tool_calls" if answer.calls else "stop"
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if with_usage:
        yield {**head, "choices": [], "usage": _completions_usage(answer)}


WHOLE: dict[str, Callable[[Answer], dict[str, Any]]] = {
    "messages": _messages_whole,
    "responses": _responses_whole,
    "completions": _completions_whole,
}
STREAMS: dict[str, Callable[[Answer], Iterator[dict[str, Any]]]] = {
    "messages": _messages_events,
    "responses": _responses_events,
}
