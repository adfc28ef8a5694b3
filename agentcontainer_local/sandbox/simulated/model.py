"""Calls the task's model through the gateway, in the wire format of the task's provider."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentcontainer_local.pi import models
from agentcontainer_local.providers import PROVIDERS
from agentcontainer_local.sandbox.simulated.door import Answer, Door, Headers

MAX_OUTPUT_TOKENS = 32_000  # of one answer, if the model's settings have no other limit
PASSING = (408, 409, 425, 429)  # like Pi: a retry may succeed after these, and after 500 and above
HEADERS = [(b"content-type", b"application/json"), (b"user-agent", b"agentcontainer-simulated")]
ANTHROPIC = [(b"anthropic-version", b"2023-06-01")]


@dataclass
class ToolCall:
    id: str
    name: str
    arguments: Any = None
    text: str = ""  # the arguments received so far


@dataclass
class Said:
    """A model's answer."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    failure: str | None = None
    refusal: str | None = None  # set if the model refused to answer, with Pi's text

    def read_arguments(self) -> None:
        for call in self.calls:
            try:
                call.arguments = json.loads(call.text or "{}")
            except ValueError:
                call.arguments = {}


class Failed(Exception):
    """The call failed. `passing`: a retry may succeed."""

    def __init__(self, error: str, passing: bool):
        super().__init__(error)
        self.passing = passing


class Format(NamedTuple):
    path: str  # below the provider's base path at the gateway
    body: Callable[
        [list[dict[str, Any]], str, list[dict[str, Any]]], dict[str, Any]
    ]  # of (session, system prompt, tools)
    read: Callable[[dict[str, Any], Said], str]  # adds an event to the answer and returns its new text
    headers: Headers = ()


class Model:
    """The task's model, as launch.json describes it."""

    def __init__(self, launch: dict[str, Any]):
        provider = launch["model"]["provider"]
        files = {path.rpartition("/")[2]: text for path, text in launch["files"].items()}
        known = json.loads(files["models.json"])["providers"][provider]
        settings = {one["id"]: one for one in known.get("models", ())} | known.get("modelOverrides", {})
        own = settings.get(launch["model"]["id"], {})
        self.provider, self.name = provider, launch["model"]["id"]
        self._base = "/" + known["baseUrl"].split("/", 3)[3]
        self._format = FORMATS[own.get("api") or models.PI_APIS[PROVIDERS[provider].api]]
        self._max_tokens = min(own.get("maxTokens", MAX_OUTPUT_TOKENS), MAX_OUTPUT_TOKENS)
        self._system = files["system.md"]

    async def ask(
        self, door: Door, session: list[dict[str, Any]], tools: list[dict[str, Any]], say: Callable[[str], None]
    ) -> Said:
        """The model's answer to the session. Calls `say` with the text as it arrives. Raises Failed or Unreachable."""
        form = self._format
        body = {"model": self.name, "stream": True, **form.body(session, self._system, tools)}
        body |= {name: self._max_tokens for name in ("max_tokens", "max_output_tokens") if name in body}
        raw = json.dumps(body).encode()
        async with door.request("POST", self._base + form.path, raw, [*HEADERS, *form.headers]) as answer:
            if answer.status != 200:
                text = (await answer.body()).decode(errors="replace")
                raise Failed(f"{answer.status} {text}", answer.status in PASSING or answer.status >= 500)
            said = Said()
            async for event in _events(answer):
                if words := form.read(event, said):
                    say(words)
        if said.failure is not None:
            raise Failed(said.failure, passing=True)
        if said.refusal is not None:
            raise Failed(said.refusal, passing=False)
        said.read_arguments()
        return said


async def _events(answer: Answer) -> AsyncIterator[dict[str, Any]]:
    """The data of server-sent events."""
    kept = b""
    async for piece in answer.pieces:
        *lines, kept = (kept + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                yield json.loads(line[5:])


def _calls(entry: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for call in entry.get("calls", ()):
        yield call["id"], call["name"], call["arguments"]


# Anthropic messages


def _messages_body(session: list[dict[str, Any]], system: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for entry in session:
        role, parts = _messages_parts(entry)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += parts
        elif parts:
            messages.append({"role": role, "content": parts})
    given = [{"name": t["name"], "description": t["description"], "input_schema": t["parameters"]} for t in tools]
    return {"system": system, "messages": messages, "tools": given, "max_tokens": 0}


def _messages_parts(entry: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    if "user" in entry:
        return "user", [_text(entry["user"])]
    if "result" in entry:
        result = {"type": "tool_result", "tool_use_id": entry["call"], "content": [_text(entry["result"])]}
        return "user", [{**result, "is_error": entry["failed"]}]
    said = [_text(entry["said"])] if entry["said"] else []
    used = [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given in _calls(entry)]
    return "assistant", said + used


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text or " "}


def _read_messages(event: dict[str, Any], said: Said) -> str:
    kind = event.get("type")
    if kind == "error":
        said.failure = json.dumps(event)
    elif kind == "message_delta" and event["delta"].get("stop_reason") == "refusal":
        said.refusal = "The model refused to complete the request"
    elif kind == "content_block_start" and event["content_block"]["type"] == "tool_use":
        said.calls.append(ToolCall(event["content_block"]["id"], event["content_block"]["name"]))
    elif kind == "content_block_delta" and "partial_json" in event["delta"]:
        said.calls[-1].text += event["delta"]["partial_json"]
    elif kind == "content_block_delta":
        words: str = event["delta"].get("text", "")
        said.text += words
        return words
    return ""


# OpenAI responses


def _responses_body(session: list[dict[str, Any]], system: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    items: list[dict[str, Any]] = [{"role": "developer", "content": system}]
    for entry in session:
        if "user" in entry:
            items.append({"role": "user", "content": [{"type": "input_text", "text": entry["user"]}]})
        elif "result" in entry:
            items.append({"type": "function_call_output", "call_id": entry["call"], "output": entry["result"]})
        else:
            if entry["said"]:
                content = [{"type": "output_text", "text": entry["said"], "annotations": []}]
                items.append({"type": "message", "role": "assistant", "content": content})
            items += [
                {"type": "function_call", "call_id": id, "name": name, "arguments": json.dumps(given)}
                for id, name, given in _calls(entry)
            ]
    given = [{"type": "function", **tool} for tool in tools]
    return {"input": items, "tools": given, "store": False, "max_output_tokens": 0}


def _read_responses(event: dict[str, Any], said: Said) -> str:
    kind = event.get("type")
    if kind in ("error", "response.failed"):
        said.failure = json.dumps(event)
    elif kind == "response.incomplete":
        reason = event["response"]["incomplete_details"]["reason"]
        said.refusal = None if reason == "max_output_tokens" else f"Response incomplete: {reason}"
    elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
        item = event["item"]
        said.calls.append(ToolCall(item["call_id"], item["name"], text=item["arguments"]))
    elif kind == "response.output_text.delta":
        words: str = event["delta"]
        said.text += words
        return words
    return ""


# OpenAI chat completions


def _completions_body(session: list[dict[str, Any]], system: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for entry in session:
        if "user" in entry:
            messages.append({"role": "user", "content": entry["user"]})
        elif "result" in entry:
            messages.append({"role": "tool", "tool_call_id": entry["call"], "content": entry["result"]})
        else:
            calls = [
                {"type": "function", "id": id, "function": {"name": name, "arguments": json.dumps(given)}}
                for id, name, given in _calls(entry)
            ]
            said = {"role": "assistant", "content": entry["said"] or None}
            messages.append({**said, **({"tool_calls": calls} if calls else {})})
    given = [{"type": "function", "function": tool} for tool in tools]
    return {"messages": messages, "tools": given, "max_tokens": 0, "stream_options": {"include_usage": True}}


def _read_completions(event: dict[str, Any], said: Said) -> str:
    if "error" in event:
        said.failure = json.dumps(event)
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    if choices[0].get("finish_reason") == "content_filter":
        said.refusal = "Provider finish_reason: content_filter"
    for part in delta.get("tool_calls") or ():
        function = part.get("function") or {}
        while len(said.calls) <= part.get("index", 0):
            said.calls.append(ToolCall("", ""))
        call = said.calls[part.get("index", 0)]
        call.id, call.name = call.id or part.get("id") or "", call.name or function.get("name") or ""
        call.text += function.get("arguments") or ""
    words: str = delta.get("content") or ""
    said.text += words
    return words


FORMATS = {
    "anthropic-messages": Format("/v1/messages", _messages_body, _read_messages, ANTHROPIC),
    "openai-responses": Format("/responses", _responses_body, _read_responses),
    "openai-completions": Format("/chat/completions", _completions_body, _read_completions),
}
