"""The token figures of a model call, taken out of its answer as it passes."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from agentcontainer_local.gateway.routes import Dialect

MOST_EVENT_BYTES = 8 * 1024 * 1024  # of one server-sent event; a longer one passes unread
MOST_JSON_BYTES = 16 * 1024 * 1024  # of an answer that is not a stream
MOST_TOKENS = 10**12
MOST_USD = 10**6

# An event without one of these has nothing for us, and is not parsed; nor has one with null there, as many have.
USAGE = (b'"usage"', b'"usage":null', b'"usage": null')
REASON = (b'"finish_reason"', b'"finish_reason":null', b'"finish_reason": null')
TELLING = {
    "messages": (USAGE, (b"message_stop",)),
    "responses": (USAGE, (b"response.completed",), (b"response.incomplete",)),
    "completions": (USAGE, REASON, (b"[DONE]",)),
    "count": (),
}
END = b"\n\n"                       # of an event, as a rule
INPUT = {"messages": "input_tokens", "responses": "input_tokens", "completions": "prompt_tokens"}
OUTPUT = {"messages": "output_tokens", "responses": "output_tokens", "completions": "completion_tokens"}
DETAILS = {"responses": "input_tokens_details", "completions": "prompt_tokens_details"}


@dataclass(frozen=True)
class Usage:
    """One call to a model. `input_tokens` are those that came from no cache; `complete` is false for a cut answer."""

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_microusd: int | None       # None: neither reported nor in the table
    status: int                     # HTTP; 499 when the guest went away first, 502 or 504 when the provider failed us
    complete: bool
    counts: Literal["told", "nothing", "worst"] = "told"    # in budgets: as told, not at all, all that was reserved

    @property
    def estimated(self) -> bool:
        return self.counts == "worst"


@dataclass
class Figures:
    """What an answer has said of itself so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0  # of those
    reported_usd: Decimal | None = None
    service_tier: str | None = None
    model: str | None = None        # the one that answered
    ended: bool = False             # the answer said that it was whole
    told: bool = False              # and what it used


@dataclass
class Meter:
    """Reads a copy of an answer's bytes, in whatever pieces they come; nothing in them makes it raise."""

    dialect: Dialect
    streaming: bool
    figures: Figures = field(default_factory=Figures)
    _parts: list[bytes] = field(default_factory=list)   # of a line, or of a JSON document, that is not whole yet
    _size: int = 0
    _data: list[bytes] = field(default_factory=list)    # the data lines of the event that is being read
    _data_size: int = 0
    _skipping: bool = False         # a line that is too long
    events: int = 0                 # that came; some token or more in each

    def feed(self, chunk: bytes) -> None:
        if not self.streaming:
            self._keep(chunk, MOST_JSON_BYTES)
        elif (last := chunk.rfind(END)) < 0:
            self._lines(chunk)
        else:
            self._events(chunk, chunk.find(END) + 2, last + 2)

    def _events(self, chunk: bytes, first: int, last: int) -> None:
        """Of a chunk in which one event ends at `first`, and the last one at `last`: most are passed over unread."""
        self._lines(chunk[:first])
        whole = chunk[first:last]
        if self._is_telling(whole):
            self._lines(whole)
        else:
            self.events += whole.count(END)
        if last < len(chunk):
            self._lines(chunk[last:])

    def _is_telling(self, data: bytes) -> bool:
        """Counting is several times as fast as looking at each event, and most bytes of a stream are not for us."""
        return any((found := data.count(sign)) and found > sum(map(data.count, empty))
                   for sign, *empty in TELLING[self.dialect])

    def close(self) -> None:
        """The answer is over, whole or not."""
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
        """Ends of lines are \\n, \\r\\n or \\r; a \\r that ends the chunk may have its \\n in the next one."""
        if b"\n" not in chunk and b"\r" not in chunk and not (self._parts and self._parts[-1].endswith(b"\r")):
            self._keep(chunk, MOST_EVENT_BYTES)
            return
        lines = b"".join([*self._parts, chunk]).splitlines(keepends=True)
        self._parts, self._size = [], 0
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        for line in lines:
            if self._skipping:      # this is the end of the one that was too long
                self._skipping = False
            else:
                self._line(line.rstrip(b"\r\n"))
        if rest:
            self._keep(rest, MOST_EVENT_BYTES)

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data_size += len(line)
            if self._data_size <= MOST_EVENT_BYTES:
                self._data.append(line[5:].removeprefix(b" "))
        elif not line:
            data, whole = b"\n".join(self._data), self._data_size <= MOST_EVENT_BYTES
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
        """An event, or a whole answer: the usage is in it, in its `message` (Anthropic) or in its `response`."""
        for holder in (document, document.get("message"), document.get("response")):
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
                not self.streaming and document.get("status") in ("completed", "incomplete"))
        choices = document.get("choices")
        return isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices)

    def _note(self, holder: dict[str, Any]) -> None:
        figures = self.figures
        if isinstance(holder.get("model"), str):
            figures.model = holder["model"]
        usage = holder.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        for told in (holder.get("service_tier"), usage.get("service_tier")):
            if isinstance(told, str):
                figures.service_tier = told
        if usage and self.dialect in INPUT:
            figures.told = True
            (self._note_apart if self.dialect == "messages" else self._note_together)(usage)
            if (reported := _reported(usage)) is not None:
                figures.reported_usd = reported

    def _note_apart(self, usage: dict[str, Any]) -> None:
        """Anthropic counts what went through a cache apart, and says more with each event, cumulatively."""
        figures, written = self.figures, usage.get("cache_creation")
        written = written if isinstance(written, dict) else {}
        figures.input_tokens = _count(usage.get("input_tokens"), figures.input_tokens)
        figures.output_tokens = _count(usage.get("output_tokens"), figures.output_tokens)
        figures.cache_read_tokens = _count(usage.get("cache_read_input_tokens"), figures.cache_read_tokens)
        figures.cache_write_tokens = _count(usage.get("cache_creation_input_tokens"), figures.cache_write_tokens)
        figures.cache_write_1h_tokens = _count(written.get("ephemeral_1h_input_tokens"), figures.cache_write_1h_tokens)

    def _note_together(self, usage: dict[str, Any]) -> None:
        """OpenAI's input includes what went through a cache."""
        figures, details = self.figures, usage.get(DETAILS[self.dialect])
        details = details if isinstance(details, dict) else {}
        figures.cache_read_tokens = _count(details.get("cached_tokens"), 0)
        figures.cache_write_tokens = _count(details.get("cache_write_tokens"), 0)
        cached = figures.cache_read_tokens + figures.cache_write_tokens
        figures.input_tokens = max(0, _count(usage.get(INPUT[self.dialect]), 0) - cached)
        figures.output_tokens = _count(usage.get(OUTPUT[self.dialect]), 0)


def _count(value: Any, otherwise: int) -> int:
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else otherwise


def _reported(usage: dict[str, Any]) -> Decimal | None:
    """OpenRouter's own figure; with the user's own key at the vendor, what that one takes comes on top."""
    if (cost := _usd(usage.get("cost"))) is None or not usage.get("is_byok"):
        return cost
    details = usage.get("cost_details")
    upstream = _usd(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
    return None if upstream is None else cost + upstream


def _usd(value: Any) -> Decimal | None:
    usable = type(value) in (int, float) and 0 <= value <= MOST_USD
    return Decimal(str(value)) if usable else None
