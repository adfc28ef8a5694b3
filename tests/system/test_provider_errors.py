"""A provider that fails, in a real container: what the task, its calls and its messages say, and what is kept."""

import pytest

from tests.fake_provider import Answers, Cuts, Fails, FakeProvider, Raw, Silent, bash
from tests.system.conftest import SIMULATED, Server, serving, wait_until

CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
STORY = Answers("Once upon a time there was a model that had much to say and was cut off before its end. " * 40)


@pytest.fixture(scope="module")
def server(provided: Server) -> Server:
    return provided


@pytest.fixture(scope="module")
def hurried(far_end: FakeProvider, tmp_path_factory):
    """A server whose provider may be silent for a second."""
    environ = {**SIMULATED, **far_end.environ(), "AGENTCONTAINER_PROVIDER_IDLE_SECONDS": "1"}
    with serving(tmp_path_factory.mktemp("hurried") / "data", **environ) as running:
        yield running


def calls(server: Server, task: dict) -> list[dict]:
    return server.get(f"/tasks/{task['id']}/model-calls", order="asc")["data"]


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (Raw((b"<html><title>Welcome to nginx!</title></html>",), "text/html"), "Welcome to nginx!"),
        (Raw((b'{"choices":[]}',), "application/json"), "one document where a stream was asked for"),
        (Fails(301, headers=(("location", "https://elsewhere.example/"),)), "https://elsewhere.example/"),
        (Fails(404, "model `nosuch` not found"), "model `nosuch` not found"),
    ],
)
def test_a_wrong_address_fails_the_task_at_once_with_its_name(simulated: Server, provider: FakeProvider, move, words):
    provider.plan(move)
    task = simulated.run("Make out.txt", **CLAUDE, maxTokens=100_000)
    assert task["status"] == "failed"
    assert words in task["error"] and f"{provider.base_url('anthropic')}/v1/messages" in task["error"]
    assert "claude-sonnet-4-5" in task["error"] and "API error" not in task["error"]
    assert (task["budget"]["usedTokens"], task["tokenUsage"]["inputTokens"]) == (0, 0)
    [call] = calls(simulated, task)
    assert (call["status"], call["error"], call["attempt"]) == ("failed", task["error"], 1)
    [asked] = simulated.get(f"/tasks/{task['id']}/messages")["data"]
    assert (asked["status"], asked["error"]) == ("failed", task["error"])


@pytest.mark.parametrize("base_url", ["http://no-such-host.invalid/v1", "http://127.0.0.1:9/v1"])
def test_an_address_that_cannot_be_reached_fails_the_task_at_once(own_simulated: Server, base_url: str):
    set_to = {"apiKey": "sk-1", "baseUrl": base_url}
    own_simulated.client.put("/api/v1/providers/openai", json=set_to).raise_for_status()
    task = own_simulated.run("Make out.txt", provider="openai", model="gpt-5")
    assert f"{base_url}/responses can't be reached" in task["error"]
    assert "agentcontainer providers set openai --base-url" in task["error"]
    assert len(calls(own_simulated, task)) == 1


def test_a_silent_provider_is_asked_twice_and_nothing_is_booked(hurried: Server, provider: FakeProvider):
    provider.plan([Silent()] * 9)
    task = hurried.run("Make out.txt", **CLAUDE, maxTokens=100_000)
    assert len(provider.seen) == 2
    assert "did not answer within 1 s" in task["error"] and "--provider-idle-seconds" in task["error"]
    assert (task["budget"]["usedTokens"], task["tokenUsage"]["inputTokens"]) == (0, 0)
    assert [call["attempt"] for call in calls(hurried, task)] == [1, 2]


def test_attempts_are_counted_through_and_each_is_told_with_its_reason(server: Server, provider: FakeProvider):
    provider.plan(
        [Fails(500, "out of coffee")] * 2,
        Answers("I go on."),
        Fails(500, "out of tea"),
        bash("finish --complete-task --message Done"),
    )
    task = server.run("Make out.txt", **CLAUDE)
    assert task["status"] == "finished", task["error"]
    retries = [event["data"] for event in server.history(task["id"]) if event["data"].get("kind") == "retrying"]
    assert [retry["attempt"] for retry in retries] == [1, 2, 1]
    assert all("out of coffee" in retry["message"] for retry in retries[:2]) and "out of tea" in retries[2]["message"]
    assert [call["status"] for call in calls(server, task)] == ["failed", "failed", "completed", "failed", "completed"]


def test_a_time_limit_says_what_the_model_was_doing(simulated: Server, provider: FakeProvider):
    provider.plan(Silent())
    task = simulated.run("Make out.txt", **CLAUDE, maxRuntimeSeconds=3)
    assert "maxRuntimeSeconds" in task["error"]
    assert f"claude-sonnet-4-5 at {provider.base_url('anthropic')} had not answered for" in task["error"]


@pytest.mark.parametrize(
    ("place", "ends_by"), [("server", "cancel"), ("simulated", "cancel"), ("simulated", "limit")], indirect=["place"]
)
@pytest.mark.parametrize("mode", ["autonomous", "conversation"])
def test_what_the_model_wrote_before_a_cut_is_kept(place: Server, provider: FakeProvider, ends_by: str, mode: str):
    server = place
    provider.plan(Silent(answer=STORY, after_events=8))
    limit = {"maxRuntimeSeconds": 5 if ends_by == "limit" else 120}
    begin = (
        server.dispatch
        if mode == "autonomous"
        else (lambda message, **overrides: server.converse(message, overrides=overrides))
    )
    task = begin("Tell me a story", **CLAUDE, **limit)
    if ends_by == "cancel":
        wait_until(lambda: server.row("SELECT count(*) AS n FROM unfinished_answers")["n"], 60)
        server.post(f"/tasks/{task['id']}/cancel", expect=200)
    else:
        server.wait(task["id"], "failed", "awaiting_input")
    asked, partly = server.get(f"/tasks/{task['id']}/messages", order="asc")["data"]
    assert (partly["role"], partly["status"]) == ("assistant", "failed")
    assert STORY.text.startswith(partly["content"]) and len(partly["content"]) > 40
    assert asked["status"] == "failed"
    why = "The task was cancelled." if ends_by == "cancel" else "maxRuntimeSeconds"
    assert why in asked["error"] and why in partly["error"]
    assert server.row("SELECT count(*) AS n FROM unfinished_answers")["n"] == 0


def test_what_came_before_a_provider_broke_off_is_kept_as_interrupted(server: Server, provider: FakeProvider):
    provider.plan(
        Cuts(Answers("I was about to say something that matters"), after_events=5),
        bash("finish --complete-task --message Done"),
    )
    task = server.run("Make out.txt", **CLAUDE)
    assert task["status"] == "finished", task["error"]
    said = [m for m in server.get(f"/tasks/{task['id']}/messages", order="asc")["data"] if m["role"] == "assistant"]
    assert (said[0]["status"], said[0]["content"][:5]) == ("failed", "I was")
    assert "closed the connection in the middle of its answer" in said[0]["error"]
    assert calls(server, task)[0]["status"] == "failed"


def test_a_model_that_calls_no_tool_is_told_as_such_and_its_answer_is_kept(server: Server, provider: FakeProvider):
    provider.plan([Answers("The sum is 6.")] * 3)
    task = server.run("Add up", **CLAUDE)
    assert (task["status"], task["result"]) == ("failed", "The sum is 6."), task["error"]
    assert "called no tool" in task["error"] and "chat template" in task["error"]


@pytest.mark.parametrize(("place", "tokens"), [("server", 3000), ("simulated", 2500)], indirect=["place"])
def test_a_budget_that_is_too_small_for_one_call_says_the_least_that_works(
    place: Server, provider: FakeProvider, tokens: int
):
    server = place
    finish = bash("finish --complete-task --message Done")
    task = server.run("Make out.txt", **CLAUDE, maxTokens=tokens)
    assert task["status"] == "failed" and provider.seen == []
    least = int(task["error"].rstrip(".").split()[-1])
    assert "too small for one call" in task["error"] and tokens < least
    provider.plan(finish)
    assert server.run("Make out.txt", **CLAUDE, maxTokens=least)["status"] == "finished"
    assert server.run("Make out.txt", **CLAUDE, maxTokens=least - 2000)["status"] == "failed"
