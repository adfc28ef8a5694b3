"""What of a launch a Pi that waits can be given later, and what makes another kind of it."""

import json

import pytest

from agentcontainer_local.pi import handover, launch
from agentcontainer_local.store.model_settings import Model
from agentcontainer_local.store.tasks import Execution

TASK = {"id": "tsk_1", "mode": "autonomous", "instructions": "Work.", "allowed_hosts": "[]"}
CATALOG = {
    "anthropic": ["claude-sonnet-4-5", "claude-haiku-4-5"],
    "openai": ["gpt-5", "gpt-5-mini"],
    "openrouter": ["openai/gpt-5", "anthropic/claude-sonnet-4.5"],
}


def kind(task: dict = TASK, model="claude-haiku-4-5", provider="anthropic", prompt="You work.", skills=(), **execution):
    chosen = Execution(provider, model, execution.pop("weak_model", None), "", None, **execution)
    return handover.kind(launch.launch(TASK | task, chosen, prompt, "HARNESS", CATALOG, list(skills), {"LANG": "C"}))


@pytest.mark.parametrize("given", [
    {"task": {"id": "tsk_2"}},
    {"task": {"instructions": "Something else."}},
    {"prompt": "You are somebody else."},
    {"model": "claude-sonnet-4-5"},
])  # fmt: skip
def test_a_waiting_pi_can_be_given_instructions_session_and_a_model_that_it_knows(given):
    assert kind(**given) == kind()


@pytest.mark.parametrize("given", [
    {"task": {"mode": "conversation"}},
    {"task": {"allowed_hosts": '["example.org"]'}},
    {"provider": "openai", "model": "gpt-5"},
    {"model": "claude-unknown"},
    {"model": "scripted"},
    {"weak_model": "claude-sonnet-4-5"},
    {"settings": {"claude-haiku-4-5": Model(context_window=32_000)}},
], ids=str)  # fmt: skip
def test_what_pi_is_started_with_makes_another_kind(given):
    assert kind(**given) != kind()
    assert kind(**given) == kind(**given)


def test_a_model_that_pi_does_not_know_waits_with_its_own_settings():
    waiting = kind(model="claude-unknown")
    assert waiting["model"]["id"] == "claude-unknown"
    assert "claude-unknown" in waiting["files"][launch.MODELS_FILE]
    assert kind(model="claude-unknown", task={"id": "tsk_2"}) == waiting


def test_skills_are_installed_for_the_task_before_pi_starts():
    assert kind(skills=["owner/name"]) is None


def test_nothing_of_the_task_is_in_what_waits():
    waiting = json.dumps(kind({"id": "tsk_private", "instructions": "secret work"}, prompt="secret prompt"))
    assert "private" not in waiting and "secret" not in waiting and "HARNESS" not in waiting


def test_nothing_of_a_conversation_is_in_what_waits_for_the_next_one():
    waiting = kind({"id": "tsk_private", "mode": "conversation", "instructions": "secret work"})
    assert waiting["mode"] == "conversation" and "secret" not in json.dumps(waiting)
