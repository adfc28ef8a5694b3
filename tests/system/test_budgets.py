"""Real Pi runs out of its budget: it is told, it finishes with what is kept, or its task fails with a clear error."""

import pytest

from tests.fake_provider import Answers, FakeProvider, bash
from tests.system.conftest import Server

MODEL = {"provider": "anthropic", "model": "claude-sonnet-4-5"}  # 3 USD a million tokens in, 15 out
WORK = Answers(calls=(("bash", {"command": "echo more >> out.txt"}),), input_tokens=5000, output_tokens=250)
FINISH = bash('finish --incomplete-task --message "All that there was money for" out.txt')


@pytest.fixture(scope="module")
def server(provided: Server) -> Server:
    return provided


def said(provider: FakeProvider, words: str) -> list[int]:
    """The calls in which the agent had been told this."""
    return [number for number, seen in enumerate(provider.seen) if words in seen.body.decode()]


def test_at_four_fifths_of_its_budget_the_agent_is_told_and_finishes(server: Server, provider: FakeProvider):
    provider.plan([WORK] * 33, FINISH)
    task = server.run("Make out.txt", **MODEL, maxTokens=200_000)
    assert (task["status"], task["metadata"]["completion"]) == ("finished", "incomplete"), task["error"]
    assert 31 <= said(provider, "Most of what this task may spend")[0] <= 33  # four fifths are 30.5 calls
    assert said(provider, "is used up") == []
    assert task["budget"]["usedTokens"] == 33 * 5250 + 110
    assert task["tokenUsage"]["inputTokens"] == 33 * 5000 + 100


def test_out_of_its_budget_the_agent_is_asked_to_finish_with_what_it_has(server: Server, provider: FakeProvider):
    provider.plan([WORK] * 12, FINISH)
    task = server.run("Make out.txt", **MODEL, maxCostUsd=0.30)
    assert (task["status"], task["metadata"]["completion"]) == ("finished", "incomplete"), task["error"]
    assert 0 < len(said(provider, "is used up, but for a last small part")) < len(provider.seen) == 13
    assert server.outputs(task["id"]) == {"out.txt": b"more\n" * 12}
    assert task["budget"]["usedCostUsd"] <= 0.30
    assert task["tokenUsage"]["costUsd"] == task["budget"]["usedCostUsd"]


def test_an_agent_that_does_not_finish_then_fails_its_task_with_a_clear_error(
    simulated: Server, provider: FakeProvider
):
    provider.plan([WORK] * 50)
    task = simulated.run("Make out.txt", **MODEL, maxTokens=60_000)
    assert task["status"] == "failed"
    assert (
        task["error"] == "The budget is used up: the task's maxTokens of 60000."
        " The agent did not finish with what was kept for that."
    )
    assert task["budget"]["usedTokens"] <= 60_000


def test_a_conversation_out_of_its_budget_answers_and_says_so(simulated: Server, provider: FakeProvider):
    overrides = {**MODEL, "maxTokens": 60_000, "maxRuntimeSeconds": 60}
    provider.plan([WORK] * 8, Answers("That is all.", input_tokens=5000), [WORK] * 9)
    begun = simulated.post(
        "/agents/agt_standard_coding/conversations",
        {"instructions": "Chat", "message": "Make out.txt", "overrides": overrides},
    )
    task = simulated.wait(begun["task"]["id"], "awaiting_input")
    answers = [
        message for message in simulated.get(f"/tasks/{task['id']}/messages")["data"] if message["role"] == "assistant"
    ]
    assert "That is all." in answers[0]["content"]
    assert answers[0]["tokenUsage"]["inputTokens"] == 45_000
    simulated.post(f"/conversations/{task['id']}/messages", {"content": "And more"})
    task = simulated.wait(task["id"], "awaiting_input")
    last = simulated.get(f"/tasks/{task['id']}/messages")["data"][0]
    assert (last["status"], last["error"]) == (
        "failed",
        "The budget is used up: the task's maxTokens of 60000. The agent did not finish with what was kept for that.",
    )
    simulated.post(f"/tasks/{task['id']}/cancel", expect=200)


def test_the_usage_of_a_running_task_grows_call_by_call(simulated: Server, provider: FakeProvider):
    provider.plan(WORK, bash("sleep 3; touch out.txt"), FINISH)
    task = simulated.dispatch("Make out.txt", **MODEL)
    seen = set()
    while simulated.get(f"/tasks/{task['id']}")["status"] in ("pending", "running"):
        seen.add(simulated.get(f"/tasks/{task['id']}")["tokenUsage"]["calls"])
    assert seen >= {2}
    assert simulated.get(f"/tasks/{task['id']}")["tokenUsage"]["byModel"]["claude-sonnet-4-5"]["calls"] == 3


def test_the_scripted_model_has_a_budget_in_tokens_too(server: Server):
    commands = "\n".join(f"```bash\nhead -c 20000 /dev/zero | tr '\\\\0' {letter}\n```" for letter in "abcdefgh")
    task = server.run(commands, maxTokens=30_000)
    assert task["status"] == "failed"
    assert "The budget is used up: the task's maxTokens of 30000." in task["error"]
    assert 0 < task["budget"]["usedTokens"] <= 30_000
