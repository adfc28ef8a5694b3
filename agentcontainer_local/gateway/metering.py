"""Reads the token usage from the answer of a model call while it passes."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentcontainer_local.gateway.routes import Dialect
from agentcontainer_local.money import MAX_USD
from agentcontainer_local.prices import TIERS

MAX_EVENT_BYTES = 8 * 1024 * 1024  # of one server-sent event; longer ones are not read
MAX_JSON_BYTES = 16 * 1024 * 1024  # of an answer that is not a stream
MAX_REPORTED_TOKENS = 10**12

# Events without these names are not parsed, nor those where the value is null, which are frequent.
USAGE = (b'"usage"', b'"usage":null', b'"usage": null')
REASON = (b'"finish_reason"', b'"finish_reason":null', b'"finish_reason": null')
TELLING = {
    "messages": (USAGE, (b"message_stop",)),
    "responses": (USAGE, (b"response.completed",), (b"response.incomplete",)),
    "completions": (USAGE, REASON, (b"[DONE]",)),
    "count": (),
}
END = b"\n\n"  # the usual end of an event
INPUT = {"messages": "input_tokens", "responses": "input_tokens", "completions": "prompt_tokens"}
OUTPUT = {"messages": "output_tokens", "responses": "output_tokens", "completions": "completion_tokens"}
DETAILS = {"responses": "input_tokens_details", "completions": "prompt_tokens_details"}

# The usage fields that do not cost more than the price table says. Any other field, unless it is zero or empty, makes
# the call doubtful: then it counts at its worst case.
TOLD = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens_details",
        "output_tokens_details",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        "cache_write_tokens",
        "cache_write_tokens_details",
        "ttl_30m_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cache_creation",
        "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens",
        "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens",
        "text_tokens",
        "image_tokens",
        "reasoning_tokens",
        "thinking_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
        "queue_time",
        "prompt_time",
        "completion_time",
        "total_time",  # Groq's
        "cost",
        "is_byok",
        "cost_details",
        "upstream_inference_cost",
        "upstream_inference_prompt_cost",  # OpenRouter's
        "upstream_inference_completions_cost",
        "upstream_inference_input_cost",
        "upstream_inference_output_cost",
    }
)
# Values that do not change the price, and the tiers whose price factor is in the table.
WORDS = {
    "service_tier": frozenset({"auto", "default", "standard", "standard_only", "batch", "on_demand", *TIERS}),
    "speed": frozenset({"standard"}),
    "inference_geo": frozenset({"global", "not_available"}),
}


@dataclass
class Figures:
    """The usage that an answer has reported so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0  # part of cache_write_tokens
    reported_usd: Decimal | None = None
    service_tier: str | None = None
    model: str | None = None  # the model that answered
    ended: bool = False  # the answer reported its end
    told: bool = False  # the answer reported its usage
    doubtful: bool = False  # the usage has something that may cost more than the table says

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens


@dataclass
class Meter:
    """Reads a copy of an answer's bytes, in any pieces. No content makes it raise."""

    dialect: Dialect
    streaming: bool
    figures: Figures = field(default_factory=Figures)
    _parts: list[bytes] = field(default_factory=list)  # of an incomplete line or JSON document
    _size: int = 0
    _data: list[bytes] = field(default_factory=list)  # data lines of the present event
    _data_size: int = 0
    _skipping: bool = False  # skips the rest of a line that is too long
    events: int = 0  # number of events; each has at least one token
    size_bytes: int = 0  # size of the answer
    _most: dict[str, int] = field(default_factory=dict)  # the largest reported count, by name

    def feed(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if not self.streaming:
            self._keep(chunk, MAX_JSON_BYTES)
        elif (last := chunk.rfind(END)) < 0:
            self._lines(chunk)
        else:
            self._events(chunk, chunk.find(END) + 2, last + 2)

    def _events(self, chunk: bytes, first: int, last: int) -> None:
        """Reads a chunk whose first event ends at `first` and whose last one at `last`. Most events are skipped."""
        self._lines(chunk[:first])
        whole = chunk[first:last]
        if self._is_telling(whole):
            self._lines(whole)
        else:
            self.events += whole.count(END)
        if last < len(chunk):
            self._lines(chunk[last:])

    def _is_telling(self, data: bytes) -> bool:
        """Whether the bytes may have usage. Counting is several times faster than parsing each event."""
        return any(
            (found := data.count(sign)) and found > sum(map(data.count, empty))
            for sign, *empty in TELLING[self.dialect]
        )

    def close(self) -> None:
        """Ends the reading. The answer may be incomplete."""
        rest = b"" if self._skipping else b"".join(self._parts)
        self._parts, self._size = [], 0
        if self.streaming:
            self._line(rest.rstrip(b"\r\n"))
            self._line(b"")
        else:
            self._document(rest)

    def _keep(self, chunk: bytes, most: int) -> None:
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > most:
            self._parts, self._size, self._skipping = [], 0, True

    def _lines(self, chunk: bytes) -> None:
        """Splits a chunk into lines. They end with \\n, \\r\\n or \\r; the \\n after a \\r may be in the next chunk."""
        if b"\n" not in chunk and b"\r" not in chunk and not (self._parts and self._parts[-1].endswith(b"\r")):
            self._keep(chunk, MAX_EVENT_BYTES)
            return
        lines = b"".join([*self._parts, chunk]).splitlines(keepends=True)
        self._parts, self._size = [], 0
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            if self._skipping:  # the end of the line that is too long
                self._skipping = False
            else:
                self._line(line.rstrip(b"\r\n"))
        if rest:
            self._keep(rest, MAX_EVENT_BYTES)

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data_size += len(line)
            if self._data_size <= MAX_EVENT_BYTES:
                self._data.append(line[5:].removeprefix(b" "))
        elif not line:
            data, whole = b"\n".join(self._data), self._data_size <= MAX_EVENT_BYTES
            self.events += bool(data)
            self._data, self._data_size = [], 0
            if whole and self._is_telling(data):
                self._document(data)

    def _document(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.figures.ended = True
            return
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict):
            self._read(document)

    def _read(self, document: dict[str, Any]) -> None:
        """Reads an event or a complete answer. The usage is in it, or in its `message` (Anthropic) or `response`."""
        choices = document.get("choices")
        for holder in (
            document,
            document.get("message"),
            document.get("response"),
            *(choices if isinstance(choices, list) else ()),
        ):
            if isinstance(holder, dict):
                self._note(holder)
        if self._is_last(document):
            self.figures.ended = True

    def _is_last(self, document: dict[str, Any]) -> bool:
        kind = document.get("type")
        if self.dialect == "messages":
            return kind == "message_stop" or (kind == "message" and not self.streaming)
        if self.dialect == "responses":
            return kind in ("response.completed", "response.incomplete") or (
                not self.streaming and document.get("status") in ("completed", "incomplete")
            )
        choices = document.get("choices")
        return isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices)

    def _note(self, holder: dict[str, Any]) -> None:
        figures = self.figures
        if isinstance(holder.get("model"), str):
            figures.model = holder["model"]
        usage = holder.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        self._note_words(holder)
        self._note_words(usage)
        if usage and self.dialect in INPUT:
            figures.told = True
            figures.doubtful |= _is_doubtful(usage)
            (self._note_anthropic_usage if self.dialect == "messages" else self._note_openai_usage)(usage)
            if (reported := _reported(usage)) is not None:
                figures.reported_usd = reported

    def _note_words(self, holder: dict[str, Any]) -> None:
        """Notes the service tier. If several are reported, the most expensive one counts."""
        figures = self.figures
        figures.doubtful |= any(holder.get(name) not in (None, "", *known) for name, known in WORDS.items())
        tier = holder.get("service_tier")
        if isinstance(tier, str) and TIERS.get(tier, 1) >= TIERS.get(figures.service_tier or "", 0):
            figures.service_tier = tier

    def _note_anthropic_usage(self, usage: dict[str, Any]) -> None:
        """Anthropic reports cached tokens separately."""
        figures, written = self.figures, usage.get("cache_creation")
        figures.input_tokens = self._largest("input_tokens", usage)
        figures.output_tokens = self._largest("output_tokens", usage)
        figures.cache_read_tokens = self._largest("cache_read_input_tokens", usage)
        figures.cache_write_tokens = self._largest("cache_creation_input_tokens", usage)
        figures.cache_write_1h_tokens = self._largest("ephemeral_1h_input_tokens", written)

    def _note_openai_usage(self, usage: dict[str, Any]) -> None:
        """OpenAI includes cached tokens in the input tokens."""
        figures, details = self.figures, usage.get(DETAILS[self.dialect])
        figures.cache_read_tokens = self._largest("cached_tokens", details)
        figures.cache_write_tokens = self._largest("cache_write_tokens", details)
        cached = figures.cache_read_tokens + figures.cache_write_tokens
        figures.input_tokens = max(0, self._largest(INPUT[self.dialect], usage) - cached)
        figures.output_tokens = self._largest(OUTPUT[self.dialect], usage)

    def _largest(self, name: str, counts: Any) -> int:
        """The largest count so far. Usage is reported repeatedly and cumulatively, so a later zero is ignored."""
        told = counts.get(name) if isinstance(counts, dict) else None
        if type(told) is int and 0 <= told <= MAX_REPORTED_TOKENS:
            self._most[name] = max(told, self._most.get(name, 0))
        return self._most.get(name, 0)


def _is_doubtful(usage: dict[str, Any], depth: int = 3) -> bool:
    """Whether any value in it, at any depth, is unknown and neither zero nor empty."""
    return any(_is_unknown(name, value, depth) for name, value in usage.items() if value and name not in WORDS)


def _is_unknown(name: str, value: Any, depth: int) -> bool:
    if name == "iterations":  # one model call, unless the provider made several of it
        return not (
            isinstance(value, list)
            and len(value) == 1
            and isinstance(value[0], dict)
            and value[0].get("type") == "message"
        )
    if not isinstance(value, dict):
        return name not in TOLD
    if name not in TOLD or not depth:
        return any(value.values())
    return _is_doubtful(value, depth - 1)


def _reported(usage: dict[str, Any]) -> Decimal | None:
    """OpenRouter's reported cost. With the user's own key at the vendor, the vendor's cost is added."""
    if (cost := _usd(usage.get("cost"))) is None or not usage.get("is_byok"):
        return cost
    details = usage.get("cost_details")
    upstream = _usd(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return None if upstream is None else cost + upstream


def _usd(value: Any) -> Decimal | None:
    usable = type(value) in (int, float) and 0 <= value <= MAX_USD
    return Decimal(str(value)) if usable else None
