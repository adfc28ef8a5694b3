"""Watches a streaming answer for errors, and counts its characters."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from agentcontainer_local.gateway import said
from agentcontainer_local.gateway.failure import TO_PI, Failure, Kind, of_event, of_full_window
from agentcontainer_local.gateway.routes import Dialect

MAX_EVENT_BYTES = 256 * 1024  # longer events are not errors
COUNTED_BYTES = 8 * 1024  # only this much of a chunk's events is counted exactly; the rest is extrapolated
END = re.compile(rb"\r?\n\r?\n|\r\r")
ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
# chunks without any of these are not searched
HINTS = (b"error", b"response.failed", b"context", b"window", b"too_long")

# Events without any of these are not parsed. Most have `null` there, or have the word in a text, where quotes are
# escaped.
SIGNS = re.compile(
    rb'"error"\s*:\s*[{"]|"type"\s*:\s*"(?:error|response\.failed)"'
    rb'|"(?:stop_reason|finish_reason|native_finish_reason|reason)"\s*:\s*"[a-z_]*(?:error|context|window|too_long)'
)
WORDS: dict[Dialect, re.Pattern[bytes]] = {
    "messages": re.compile(rb'_delta", ?"(?:text|thinking|partial_json)": ?"((?:[^"\\]|\\.)*)"'),
    "responses": re.compile(rb'"delta": ?"((?:[^"\\]|\\.)*)"'),
    "completions": re.compile(rb'"(?:content|reasoning_content|reasoning|arguments)": ?"((?:[^"\\]|\\.)*)"'),
    "count": re.compile(rb"(?!)"),
}


@dataclass
class Watch:
    dialect: Dialect
    characters: int = 0
    _event: bytes = field(default=b"", repr=False)  # the incomplete event

    def feed(self, chunk: bytes) -> tuple[bytes, Failure | None]:
        """The part of a chunk to pass on, and the error that ends the answer. Text before the error is passed on."""
        before = len(self._event)
        text = self._event + chunk if before else chunk
        begin = 0
        if not any(word in text for word in HINTS):
            begin = max((at + len(end) for end in ENDS if (at := text.rfind(end)) >= 0), default=0)
        for end in END.finditer(text, begin):
            if failure := failure_in(text[begin : end.start()]):
                return chunk[: max(0, begin - before)], failure
            begin = end.end()
        self._count(text[:begin])
        self._event = text[begin:] if len(text) - begin <= MAX_EVENT_BYTES else b""
        return chunk, None

    def _count(self, events: bytes) -> None:
        seen = events[:COUNTED_BYTES]
        found = sum(map(len, WORDS[self.dialect].findall(seen)))
        self.characters += found * len(events) // len(seen) if seen else 0


def failure_in(event: bytes) -> Failure | None:
    if not SIGNS.search(event):
        return None
    data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:"))
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    error = _error_of(document)
    if error is not None:
        return of_event(_code(error), said.brief(said.of_document(error)), said.text(data))
    return of_full_window() if any(map(said.FULL_WINDOW.search, _reasons(document))) else None


def _error_of(document: dict[str, Any]) -> Any:
    """The error in an event: `error` events of Anthropic and OpenAI, `response.failed`, and `error` in a chunk of
    OpenRouter or vLLM."""
    response = document.get("response")
    if document.get("type") == "error":
        return document.get("error") or document
    if document.get("type") == "response.failed" and isinstance(response, dict):
        return response.get("error") or {"message": "The response failed."}
    if isinstance(document.get("error"), dict | str) and document["error"]:
        return document["error"]
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
            return choice.get("error") or {"message": "The provider ended its answer with an error."}
    return None


KINDS = {
    "overloaded_error": 529,
    "api_error": 500,
    "rate_limit_error": 429,
    "server_error": 500,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "billing_error": 402,
    "rate_limit_exceeded": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "request_too_large": 413,
    "insufficient_quota": 402,
}


def _code(error: Any) -> int | None:
    """The error's HTTP status: a number, or a known word."""
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "status_code", "type"):
        value = error.get(name)
        if isinstance(value, str):
            value = int(value) if value.isdecimal() else KINDS.get(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _reasons(document: dict[str, Any]) -> list[str]:
    """Why the answer ended, from all places where the dialects say it."""
    found = [document.get("stop_reason")]
    for name, inner in (("delta", "stop_reason"), ("message", "stop_reason")):
        holder = document.get(name)
        found.append(holder.get(inner) if isinstance(holder, dict) else None)
    response = document.get("response")
    details = response.get("incomplete_details") if isinstance(response, dict) else None
    found.append(details.get("reason") if isinstance(details, dict) else None)
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            found += [choice.get("finish_reason"), choice.get("native_finish_reason")]
    return [reason for reason in found if isinstance(reason, str)]


def told(dialect: Dialect, kind: Kind) -> bytes:
    """An error event for the middle of a stream, with the text for Pi."""
    type, words = TO_PI[kind]
    error: dict[str, Any] = {"type": type, "code": type, "message": words}
    if dialect == "messages":
        return b"event: error\ndata: " + json.dumps({"type": "error", "error": error}).encode() + b"\n\n"
    if dialect == "responses":
        return b"event: error\ndata: " + json.dumps({**error, "type": "error"}).encode() + b"\n\n"
    return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
