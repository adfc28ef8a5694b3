"""Real Pi in a real container against a provider that fails as providers do; its key is added on the way."""

import json

import pytest

from tests.fake_provider import Answers, Cuts, Fails, FakeProvider, bash
from tests.system.conftest import Server

PROVIDERS = {
    "anthropic": ("claude-sonnet-4-5", "/v1/messages", "x-api-key", "fake-key-of-anthropic"),
    "openai": ("gpt-5", "/v1/responses", "authorization", "Bearer fake-key-of-openai"),
    "openrouter": ("openai/gpt-5", "/api/v1/chat/completions", "authorization", "Bearer fake-key-of-openrouter"),
}
# A PNG of one dot.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FINISH = bash('finish --complete-task --message "Done" out.txt')


@pytest.fixture(scope="module")
def server(provided: Server) -> Server:
    return provided


def asked(provider: FakeProvider) -> list[str]:
    return [seen.json["model"] for seen in provider.seen]


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_is_spoken_to_in_its_own_words_with_its_own_key(
    server: Server, provider: FakeProvider, name: str
):
    model, path, header, key = PROVIDERS[name]
    provider.plan(bash("echo made > out.txt", timeout=10), FINISH)
    task = server.run("Make out.txt", model=model, provider=name)
    assert task["status"] == "finished", task["error"]
    assert server.outputs(task["id"]) == {"out.txt": b"made\n"}
    assert task["execution"] == {"provider": name, "model": model, "weakModel": None}
    assert asked(provider) == [model, model]
    assert {seen.path for seen in provider.seen} == {path}
    assert {seen.header(header) for seen in provider.seen} == {key}
    assert task["tokenUsage"]["byModel"][model]["calls"] == 2
    assert task["tokenUsage"]["inputTokens"] == 200


def test_a_picture_that_the_agent_reads_reaches_the_provider(server: Server, provider: FakeProvider):
    """With each provider: tests/guest/test_pictures.py."""
    reads = Answers(calls=(("read", {"path": "a.png"}),))
    provider.plan(bash(f"echo {DOT} | base64 -d > a.png; echo made > out.txt"), reads, FINISH)
    task = server.run("Look", model="claude-sonnet-4-5", provider="anthropic")
    assert task["status"] == "finished", task["error"]
    assert [json.dumps(seen.json).count(DOT) for seen in provider.seen[1:]] == [1, 2]  # first in the command


def test_a_model_that_nobody_knows_is_sent_no_picture(server: Server, provider: FakeProvider):
    reads = Answers(calls=(("read", {"path": "a.png"}),))
    provider.plan(bash(f"echo {DOT} | base64 -d > a.png; echo made > out.txt"), reads, FINISH)
    task = server.run("Look", model="claude-of-tomorrow", provider="anthropic")
    assert task["status"] == "finished", task["error"]
    assert json.dumps(provider.seen[-1].json).count(DOT) == 1
    assert "does not support images" in json.dumps(provider.seen[-1].json)


@pytest.mark.parametrize(
    ("place", "name", "model", "sent"),
    [
        ("server", "anthropic", "claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("simulated", "anthropic", "claude-of-tomorrow", "claude-of-tomorrow"),
        ("simulated", "openai", "gpt-6", "gpt-6"),
        ("server", "openai", "local/llama:8b", "local/llama:8b"),
        ("server", "openrouter", "z-ai/glm-9:free", "z-ai/glm-9:free"),
        ("simulated", "openrouter", "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5"),
    ],
    indirect=["place"],
)
def test_a_model_id_reaches_the_provider_as_asked(
    place: Server, provider: FakeProvider, name: str, model: str, sent: str
):
    provider.plan(bash('finish --complete-task --message "Done"'))
    task = place.run("Nothing to do", model=model, provider=name)
    assert task["status"] == "finished", task["error"]
    assert set(asked(provider)) == {sent}
    assert task["execution"]["model"] == model


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        ("server", Fails(429, "slow down", (("retry-after", "1"),))),
        ("simulated", Fails(529, "Overloaded")),
        ("simulated", Cuts(Answers("I am cut off in the middle of what I"), after_events=4)),
    ],
    ids=["429", "529", "cut"],
    indirect=["place"],
)
def test_a_provider_in_trouble_is_asked_again(place: Server, provider: FakeProvider, trouble):
    provider.plan(trouble, bash("echo made > out.txt"), FINISH)
    task = place.run("Make out.txt", model="claude-sonnet-4-5", provider="anthropic")
    assert task["status"] == "finished", task["error"]
    assert len(provider.seen) == 3


def test_a_refusal_of_the_provider_fails_the_task_with_its_words(server: Server, provider: FakeProvider):
    provider.plan(*[Fails(400, "your prompt smells of elderberries")] * 8)
    task = server.run("Make out.txt", model="claude-sonnet-4-5", provider="anthropic")
    assert task["status"] == "failed"
    assert "elderberries" in task["error"]


def test_the_agent_sees_neither_key_nor_address_of_the_provider(server: Server, provider: FakeProvider):
    look = (
        "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n';"
        " cat /run/agentcontainer/launch.json /var/lib/agentcontainer/pi/*.json"
    )
    provider.plan(bash(look, timeout=20), bash('finish --complete-task --message "Done"'))
    task = server.run("Look around", model="claude-sonnet-4-5", provider="anthropic")
    assert task["status"] == "finished"
    heard = json.dumps([seen.json for seen in provider.seen]) + server.said(task["id"])
    assert "gatewayPort" in heard
    assert "fake-key-of" not in heard
    assert f":{provider.port}" not in heard


def test_without_a_key_for_its_provider_a_task_is_refused(own_server: Server):
    body = {"instructions": "Hello", "overrides": {"model": "gpt-5", "provider": "openai"}}
    refused = own_server.post("/agents/agt_standard_coding/tasks", body, expect=422)
    assert refused["error"]["code"] == "provider_key_missing"
    assert own_server.get("/tasks")["data"] == []


def test_summaries_are_written_by_the_weak_model(server: Server, provider: FakeProvider):
    much = bash("head -c 45000 /dev/zero | tr '\\0' x | fold -w 1000; echo made > out.txt")
    nearly_full = Answers(calls=much.calls, input_tokens=120_000)
    provider.plan(much, much, much, nearly_full, FINISH, model="main-model")
    provider.plan(*[Answers("So far: out.txt was made.")] * 2, model="weak-model")
    task = server.run("Make out.txt", model="main-model", weakModel="weak-model", provider="openai")
    assert task["status"] == "finished", task["error"]
    assert asked(provider)[:4] == ["main-model"] * 4 and asked(provider)[-1] == "main-model"
    assert "weak-model" in asked(provider)
    assert task["execution"]["weakModel"] == "weak-model"
    assert set(task["tokenUsage"]["byModel"]) == {"main-model", "weak-model"}
