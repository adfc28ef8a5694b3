"""While a slow model reads or answers, the task and its stream say so."""

import json

import httpx

from tests.fake_provider import Answers, Drips, FakeProvider, Silent, bash
from tests.system.conftest import Server, wait_until

FINISH = bash("finish --complete-task --message Done")
CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}


def heard(server: Server, task: dict, until: str) -> list[dict]:
    """The model.call events of the task's stream until one has this state."""
    found = []
    with httpx.stream(
        "GET",
        f"{server.url}/api/v1/tasks/{task['id']}/events?stream=true",
        timeout=60,
        trust_env=False,
        headers={"Authorization": f"Bearer {server.key}"},
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:") and '"model.call"' in line:
                found.append(json.loads(line[5:]))
                if found[-1]["state"] == until:
                    return found
    raise AssertionError(found)


def test_a_model_that_is_waited_for_is_told_with_the_time(provided: Server, provider: FakeProvider):
    provider.plan(Silent())
    task = provided.dispatch("Nothing to do", **CLAUDE)
    waiting = heard(provided, task, "waiting")
    assert (waiting[-1]["model"], waiting[-1]["attempt"]) == ("claude-sonnet-4-5", 1)
    assert waiting[-1]["waitedSeconds"] >= 1 and waiting[-1]["receivedCharacters"] == 0
    call = provided.get(f"/tasks/{task['id']}")["modelCall"]
    assert call["state"] == "waiting" and call["waitedSeconds"] >= 1
    provided.post(f"/tasks/{task['id']}/cancel", expect=200)
    wait_until(lambda: "modelCall" not in provided.get(f"/tasks/{task['id']}"), 10)


def test_an_answer_that_comes_is_told_with_its_characters_and_its_end(simulated: Server, provider: FakeProvider):
    provider.plan(Drips(Answers("so much to say " * 60), bytes_at_once=600, pause_seconds=0.5), FINISH)
    task = simulated.dispatch("Nothing to do", **CLAUDE)
    events = heard(simulated, task, "ended")
    counts = [event["receivedCharacters"] for event in events if event["state"] == "answering"]
    assert counts == sorted(counts) and 0 < counts[-1] <= 900
    assert simulated.wait(task["id"])["status"] == "finished"
