"""The events of a simulated guest: numbered, kept until acknowledged, and sent in batches, one at a time."""

import asyncio
import contextlib
import json
import logging
from typing import Any

from agentcontainer_local.sandbox.simulated.door import Door

log = logging.getLogger(__name__)

BATCH_LINES, BATCH_BYTES = 500, 1024**2
INPUT_BYTES, OUTPUT_BYTES, TEXT_BYTES = 64 * 1024, 4 * 1024, 256 * 1024
NDJSON = [(b"content-type", b"application/x-ndjson")]
REFUSED = (400, 413, 422)


class Events:
    """The queue of events. Events have no time, so that the host uses its own clock, which a test may move."""

    def __init__(self, door: Door):
        self._door = door
        self._queue: list[bytes] = []
        self._number = 0
        self._words: list[str] = []  # text of the present answer, for live streams only
        self._added = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()

    def push(self, type: str, **facts: Any) -> None:
        self._take_words()
        self._number += 1
        self._add({"seq": self._number, "event": {"type": type, **facts}})

    def delta(self, text: str) -> None:
        self._words.append(text)
        self._wake()

    def tool_started(self, call_id: str, tool: str, input: Any) -> None:
        large = len(json.dumps(input)) > INPUT_BYTES
        reason = "too_large" if large else None
        self.push("tool_started", callId=call_id, tool=tool, input=None if large else input, inputOmittedReason=reason)

    def tool_ended(self, call_id: str, output: str, failed: bool) -> None:
        self.push("tool_ended", callId=call_id, failed=failed, output=tail(output, OUTPUT_BYTES))

    def message(self, text: str, reason: str, error: str | None = None) -> None:
        """`reason`: stop, toolUse or error, as Pi reports it."""
        self.push("message", text=head(text, TEXT_BYTES), stopReason=reason, errorMessage=error)

    async def flush(self) -> None:
        """Waits until the host has received everything."""
        await self._sent.wait()

    async def pump(self) -> None:
        """Sends events until the host reports that the run is over."""
        while True:
            await self._added.wait()
            self._take_words()
            batch = self._batch()
            status, answer = await self._send(batch)
            if status == 409:
                return
            if status in REFUSED:
                await self._one_by_one(batch, answer)
            elif status != 200:
                raise RuntimeError(f"The host answered {status} to events: {answer}")
            del self._queue[: len(batch)]
            if not self._queue and not self._words:
                self._added.clear()
                self._sent.set()

    async def _one_by_one(self, batch: list[bytes], why: Any) -> None:
        """Sends the events one by one, because an event that the host rejects must not block the others."""
        for line in batch:
            status, _ = await self._send([line])
            if status in REFUSED:
                log.warning("the host refused an event (%s): %.1000s", why, line.decode())

    async def _send(self, batch: list[bytes]) -> tuple[int, Any]:
        return await self._door.send("POST", "/guest/events", b"\n".join(batch) + b"\n", NDJSON)

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for line in self._queue[:BATCH_LINES]:
            size += len(line)
            if batch and size > BATCH_BYTES:
                break
            batch.append(line)
        return batch

    def _take_words(self) -> None:
        if self._words:
            text, self._words = head("".join(self._words), TEXT_BYTES), []
            self._add({"event": {"type": "delta", "text": text}})

    def _add(self, numbered: dict[str, Any]) -> None:
        self._queue.append(json.dumps(numbered).encode())
        self._wake()

    def _wake(self) -> None:
        self._sent.clear()
        self._added.set()


def head(text: str, size: int) -> str:
    """The beginning of the text, at most `size` bytes."""
    return _whole(text).encode()[:size].decode(errors="ignore")


def tail(text: str, size: int) -> str:
    return _whole(text).encode()[-size:].decode(errors="ignore")


def _whole(text: str) -> str:
    """Replaces unpaired surrogates, which JSON allows and UTF-8 does not."""
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return text
    return text.encode(errors="replace").decode()
