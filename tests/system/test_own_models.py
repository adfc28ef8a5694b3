"""A model of one's own: which API its server speaks, how much it takes, what it costs, in a real container."""

import json

import pytest

from tests.fake_provider import Answers, Fails, FakeProvider, bash
from tests.system.conftest import Server, serving

FINISH = bash("finish --complete-task --message Done")
PATHS = {"responses": "/responses", "chat-completions": "/chat/completions", "messages": "/messages"}
MUCH = bash("head -c 12000 /dev/zero | tr '\\0' x | fold -w 100")
TOO_LONG = "request (17000 tokens) exceeds the available context size (16384 tokens), try increasing it"


@pytest.fixture
def server(provider: FakeProvider, tmp_path):
    with serving(tmp_path / "data", **provider.environ()) as running:
        yield running


def set_to(server: Server, provider: str, **settings) -> None:
    server.client.put(f"/api/v1/providers/{provider}", json=settings).raise_for_status()


@pytest.mark.parametrize(
    ("place", "name"),
    [("server", "openai"), ("own_simulated", "anthropic"), ("own_simulated", "openrouter")],
    indirect=["place"],
)
def test_a_server_is_spoken_to_in_the_api_that_was_set(place: Server, provider: FakeProvider, name: str):
    server = place
    for api, path in PATHS.items():
        set_to(server, name, api=api)
        provider.forget()
        provider.plan(FINISH)
        task = server.run("Nothing to do", provider=name, model="qwen3:8b", maxTokens=200_000)
        assert task["status"] == "finished", (task["error"], server.history(task["id"]))
        assert [seen.path.removeprefix("/api").removeprefix("/v1") for seen in provider.seen] == [path]


def test_openrouters_relay_is_asked_for_chat_completions_of_claude_too(own_simulated: Server, provider: FakeProvider):
    provider.plan(FINISH)
    task = own_simulated.run("Nothing to do", provider="openrouter", model="anthropic/claude-sonnet-4.5")
    assert task["status"] == "finished", (task["error"], own_simulated.history(task["id"]))
    assert provider.seen[0].path == "/api/v1/chat/completions"


@pytest.mark.parametrize("known", [True, False])
def test_a_window_of_16k_is_kept_whether_it_is_set_or_learned(server: Server, provider: FakeProvider, known: bool):
    """The fake counts as llama.cpp does: a prompt beyond its window is refused, with the window in the error."""

    class Small(FakeProvider):
        def _next(self, model):
            size = len(self.seen[-1].body) // 4
            if size > 16_384:
                return Fails(400, TOO_LONG.replace("17000", str(size)))
            if not self.seen[-1].json.get("tools"):  # Pi asks for a summary
                return Answers("So far, much was looked at.", input_tokens=size)
            move = super()._next(model)
            return Answers(move.text, move.calls, input_tokens=size, output_tokens=50)

    provider.__class__ = Small
    try:
        set_to(server, "openai", api="chat-completions", **({"contextWindow": 16_384} if known else {}))
        provider.plan([MUCH] * 8, FINISH, FINISH, FINISH, FINISH)
        task = server.run("Look at much", provider="openai", model="local", maxRuntimeSeconds=120)
    finally:
        provider.__class__ = FakeProvider
    assert task["status"] == "finished", (task["error"], server.history(task["id"]))
    kinds = [event["data"].get("kind") for event in server.history(task["id"])]
    assert "compacted" in kinds
    [local] = [one for one in server.get("/providers")["data"][1]["models"] if one["model"] == "local"] or [None]
    assert (local and local["learnedContextWindow"]) == (None if known else 16_384)
    if known:
        assert [seen for seen in provider.seen if len(seen.body) // 4 > 16_384] == []


def test_a_model_without_a_price_can_be_said_to_be_free(own_simulated: Server, provider: FakeProvider):
    body = {"instructions": "x", "overrides": {"provider": "openai", "model": "qwen3:8b", "maxCostUsd": 1}}
    refused = own_simulated.post("/agents/agt_standard_coding/tasks", body, expect=422)
    assert "providers set openai --model qwen3:8b --free" in refused["error"]["message"]
    set_to(own_simulated, "openai", model="qwen3:8b", free=True)
    provider.plan(FINISH)
    task = own_simulated.run("Nothing to do", provider="openai", model="qwen3:8b", maxCostUsd=1)
    assert task["status"] == "finished", (task["error"], own_simulated.history(task["id"]))
    assert (task["budget"]["usedCostUsd"], task["tokenUsage"]["costUsd"]) == (0, 0)


def test_a_task_stays_with_the_server_that_it_began_with(own_simulated: Server, provider: FakeProvider):
    provider.plan(bash("sleep 4"), FINISH)
    task = own_simulated.dispatch("Sleep", provider="openai", model="qwen3:8b")
    while not provider.seen:
        assert own_simulated.get(f"/tasks/{task['id']}")["status"] in ("pending", "running")
    set_to(own_simulated, "openai", baseUrl="http://127.0.0.1:9/v1", apiKey="another-key-0123456789")
    assert own_simulated.wait(task["id"])["status"] == "finished"
    assert {seen.header("authorization") for seen in provider.seen} == {"Bearer fake-key-of-openai"}


def test_a_server_without_responses_gets_a_hint_that_works(own_simulated: Server, provider: FakeProvider):
    provider.plan(Fails(404, "Not Found"))
    task = own_simulated.run("Nothing to do", provider="openai", model="qwen3:8b")
    assert "agentcontainer providers set openai --api chat-completions" in task["error"]


def test_an_answer_of_a_tool_leaves_room_in_a_small_window(server: Server, provider: FakeProvider):
    set_to(server, "openai", contextWindow=16_384)
    provider.plan(bash("head -c 40000 /dev/zero | tr '\\0' x | fold -w 100"), FINISH)
    task = server.run("Look", provider="openai", model="local")
    assert task["status"] == "finished", (task["error"], server.history(task["id"]))
    assert "characters left out" in json.dumps(provider.seen[-1].json)
