"""Extracts a provider's error message from JSON, events, a web page or plain text."""

import html
import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

MAX_QUOTED_CHARACTERS = 500
MAX_BODY_BYTES = 64 * 1024
MAX_RETRY_AFTER_SECONDS = 60

TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
DATA = re.compile(r"^data:\s*(\{.*)$", re.MULTILINE)

OVERFLOW = re.compile(
    r"prompt (?:is )?too long|exceeds? (?:the |this )?(?:model'?s? )?(?:available |maximum )?context"
    r"|context[_ ](?:length|window|size)|maximum context|context (?:the )?overflows?|input (?:is|was) too long"
    r"|too many (?:input )?tokens|input token count"
    r"|max(?:imum)? (?:prompt|input)[ _](?:length|tokens?)|exceed_context|request_too_large|reduce the length of"
    r"|longer than the model|range of input length|<= ?\d+ tokens|token limit exceeded|prompt exceeds",
    re.IGNORECASE,
)
NO_OVERFLOW = re.compile(
    r"rate limit|too many requests|per minute|per day|unsupported (?:parameter|value)", re.IGNORECASE
)
SPENT = re.compile(
    r"insufficient_quota|quota exceeded|exceeded your current quota|credit balance|insufficient (?:credits|balance)"
    r"|out of budget|usage limit reached|billing_(?:not_active|hard_limit)",
    re.IGNORECASE,
)
PICTURES = re.compile(
    r"\b(?:images?|image_url|input_image|pictures?|vision|multi-?modal|mmproj|media[_ ]type)\b", re.IGNORECASE
)
# Stop reasons that mean that the context window is full, as opposed to the output limit.
FULL_WINDOW = re.compile(
    r"context_(?:window|length|limit)|window_exceeded|context_?overflow|prompt_too_long", re.IGNORECASE
)

# The size of the window in the error messages of llama.cpp, OpenAI, vLLM, OpenRouter, Anthropic, Mistral, Gemini, LM
# Studio…
WINDOW = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r'"n_ctx"\s*:\s*(\d+)',
        r"context (?:size|length|window)\s*\(?\s*(?:of|is|:|=)?\s*(?:only )?([\d,]+)",
        r"maximum context length(?: of| is)? ([\d,]+)",
        r"> ?([\d,]+) maximum",
        r"with ([\d,]+) maximum context",
        r"maximum number of tokens allowed \(?([\d,]+)",
        r"must be <= ?([\d,]+)",
        r"limit of ([\d,]+) tokens",
        r"context length of (?:only )?([\d,]+)",
        r"maximum (?:prompt|input) length (?:is|of) ([\d,]+)",
        r"model'?s context length \(([\d,]+)",
    )
)
MIN_WINDOW_TOKENS = 1024


def text(body: bytes) -> str:
    return body[:MAX_BODY_BYTES].decode("utf-8", "replace")


def brief(words: str, most: int = MAX_QUOTED_CHARACTERS) -> str:
    """The text in one line, without control characters, shortened to `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def title(page: str) -> str:
    found = TITLE.search(page)
    return brief(html.unescape(found[1]), 100) if found else ""


def message(body: bytes) -> str:
    """The provider's own message: from a JSON object, from the first event that has one, or from a short plain text."""
    words = text(body).strip()
    for candidate in (words, *DATA.findall(words)):
        try:
            found = of_document(json.loads(candidate))
        except (ValueError, RecursionError):
            continue
        if found:
            return brief(found)
    plain = words and words[0] not in "<{[" and "data:" not in words and len(words) <= MAX_QUOTED_CHARACTERS
    return brief(words) if plain else ""


def of_document(document: Any, depth: int = 6) -> str:
    """The error message in a JSON document, such as `message`, FastAPI's `detail` or Ollama's `error`."""
    if isinstance(document, str):
        return _inner(document, depth)
    if isinstance(document, list) and document and depth:
        return of_document(document[0], depth - 1)
    if not isinstance(document, dict) or not depth:
        return ""
    for name in ("error", "message", "detail", "msg", "Message", "error_description", "title", "reason"):
        if found := of_document(document.get(name), depth - 1):
            return found
    return ""


def _inner(words: str, depth: int) -> str:
    """The message within a message: some providers put JSON into it."""
    if depth and words.lstrip().startswith("{"):
        try:
            return of_document(json.loads(words), depth - 1) or words
        except (ValueError, RecursionError):
            pass
    return words


def window(words: str) -> int | None:
    """The context window, if the error names it. The smallest number counts, because the prompt's size is larger."""
    found = [int(match[1].replace(",", "")) for pattern in WINDOW for match in pattern.finditer(words)]
    return min((tokens for tokens in found if tokens >= MIN_WINDOW_TOKENS), default=None)


def seconds(header: str | None) -> float:
    """The seconds of a Retry-After header, which is a number or a date. At most MAX_RETRY_AFTER_SECONDS."""
    if not header:
        return 0
    try:
        return min(max(0.0, float(header)), MAX_RETRY_AFTER_SECONDS)
    except ValueError:
        return _until(header)


def _until(date: str) -> float:
    try:
        left = parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0
    return min(max(0.0, left), MAX_RETRY_AFTER_SECONDS)
