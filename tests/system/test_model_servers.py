"""Model servers as people have them: LiteLLM's proxy and aimock do the main job for each provider and in each API."""

from collections.abc import Iterator

import pytest

from tests import model_servers
from tests.fake_provider import Answers, Fails, FakeProvider, bash
from tests.system.conftest import Server, serving

FINISH = bash("echo made > out.txt; finish --complete-task --message Done out.txt")
PATHS = {"anthropic": "", "openai": "/v1", "openrouter": "/v1"}
MODEL = "local-model"

# The first test of each makes its environment.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def litellm(far_end: FakeProvider, tmp_path_factory) -> Iterator[str]:
    with model_servers.litellm(tmp_path_factory.mktemp("litellm"), far_end.base_url("openai"), [MODEL]) as url:
        yield url


@pytest.fixture(scope="module")
def aimock(tmp_path_factory) -> Iterator[str]:
    call = {"name": "bash", "arguments": '{"command": "finish --complete-task --message Done"}'}
    with model_servers.aimock(tmp_path_factory.mktemp("aimock"), {"toolCalls": [call]}) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


def set_to(server: Server, provider: str, url: str, **settings) -> None:
    body = {"apiKey": model_servers.KEY, "baseUrl": url + PATHS[provider], **settings}
    server.client.put(f"/api/v1/providers/{provider}", json=body).raise_for_status()


@pytest.mark.parametrize(
    ("provider_name", "api"),
    [
        ("anthropic", "messages"),
        ("openai", "responses"),
        ("openai", "chat-completions"),
        ("openrouter", "chat-completions"),
    ],
)
def test_litellm_serves_each_provider(
    server: Server,
    provider: FakeProvider,
    litellm: str,
    provider_name: str,
    api: str,
):
    set_to(server, provider_name, litellm, api=api)
    provider.plan(bash("echo hello"), FINISH)
    task = server.run("Make out.txt", provider=provider_name, model=MODEL)
    assert task["status"] == "finished", task["error"]
    assert server.outputs(task["id"]) == {"out.txt": b"made\n"}
    assert task["tokenUsage"]["calls"] == 2 and task["tokenUsage"]["inputTokens"] == 200
    # LiteLLM leaves an answer open for a moment behind its [DONE]: `finish` may end the last call within it.
    assert task["tokenUsage"]["estimatedCalls"] <= 1


@pytest.mark.parametrize(
    ("provider_name", "api"),
    [
        ("anthropic", "messages"),
        ("openai", "responses"),
        ("openrouter", "chat-completions"),
    ],
)
def test_aimock_serves_each_provider(server: Server, aimock: str, provider_name: str, api: str):
    set_to(server, provider_name, aimock, api=api)
    task = server.run("Nothing to do", provider=provider_name, model="gpt-5")
    assert task["status"] == "finished", task["error"]
    assert task["tokenUsage"]["inputTokens"] > 0  # it may say 0, which nobody believes


def test_what_litellm_says_of_a_failure_is_told_in_a_sentence(server: Server, provider: FakeProvider, litellm: str):
    set_to(server, "openai", litellm, api="chat-completions")
    task = server.run("Nothing to do", provider="openai", model="nosuch")
    assert task["status"] == "failed"
    assert f"{litellm}/v1/chat/completions answered" in task["error"] and "nosuch" in task["error"]
    assert "provider_specific_fields" not in task["error"] and "data:" not in task["error"]
    provider.plan(Fails(400, "your prompt smells of elderberries"), Answers("ok"))
    task = server.run("Nothing to do", provider="openai", model=MODEL)
    assert task["status"] == "failed" and "elderberries" in task["error"]
    assert len(server.get(f"/tasks/{task['id']}/model-calls")["data"]) == 1
