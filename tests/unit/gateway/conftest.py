"""The gateway over real sockets, with a fake provider behind it."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from agentcontainer_local import gateway
from agentcontainer_local.store import tasks
from tests import fake_provider

KEY = "sk-the-real-key-0123456789"
MODELS = {"anthropic": "claude-opus-4-5", "openai": "gpt-5.1", "openrouter": "z-ai/glm-9"}
PATHS = {
    "anthropic": "/anthropic/v1/messages",
    "openai responses": "/openai/v1/responses",
    "openai completions": "/openai/v1/chat/completions",
    "openrouter": "/openrouter/api/v1/chat/completions",
    "openrouter responses": "/openrouter/api/v1/responses",
    "openrouter messages": "/openrouter/api/v1/v1/messages",
}


@dataclass
class Served:
    """A gateway on a port, whose grant a test can change."""

    grant: gateway.Grant
    idle_seconds: float = 300
    port: int = 0
    usages: list[tasks.Usage] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await gateway.handle(self.grant, self.client, scope, receive, send)

    async def _live(self, receive, send):
        await receive()
        async with gateway.client(self.idle_seconds) as self.client:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def allow(self, **changes: Any) -> None:
        self.grant = dataclasses.replace(self.grant, **changes)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def post(self, path: str, body: dict | bytes, **options: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(self.url(path), content=content, trust_env=False, **options)


@pytest.fixture(scope="session")
def fake_served() -> Iterator[fake_provider.FakeProvider]:
    with fake_provider.serving() as serving:
        yield serving


@pytest.fixture
def fake(fake_served) -> fake_provider.FakeProvider:
    fake_served.forget()
    return fake_served


@contextlib.contextmanager
def served(idle_seconds: float = 300, **changes: Any) -> Iterator[Served]:
    usages: list[tasks.Usage] = []
    app = Served(granted(settle=into(usages), **changes), idle_seconds, usages=usages)
    with fake_provider.in_thread(app) as app.port:
        yield app


async def freely(worst: tasks.Worst) -> tasks.Reserved:
    return tasks.Reserved(0, worst.output_tokens)


def into(usages: list[tasks.Usage]):
    return lambda reserved, usage: usages.append(usage)


def granted(**changes: Any) -> gateway.Grant:
    return gateway.Grant(
        **{
            "provider": "anthropic",
            "models": frozenset({"claude-opus-4-5"}),
            "api_key": KEY,
            "base_url": "http://[::1]:9",
            "scripted": False,
            "conversation": False,
            "reserve": freely,
            "settle": into([]),
            **changes,
        }
    )


@pytest.fixture(scope="session")
def gateway_served() -> Iterator[Served]:
    with served() as app:
        yield app


@pytest.fixture
def door(gateway_served, fake) -> Served:
    gateway_served.usages = []  # a new one: a call of the test before may still end
    gateway_served.grant = granted(settle=into(gateway_served.usages), base_url=fake.base_url("anthropic"))
    return gateway_served


def for_provider(door: Served, fake: fake_provider.FakeProvider, provider: str) -> str:
    """Lets the task call this provider; its model."""
    door.allow(provider=provider, models=frozenset({MODELS[provider]}), base_url=fake.base_url(provider))
    return MODELS[provider]


def request(model: str, stream: bool = True, kind: str = "anthropic") -> dict[str, Any]:
    """The least that Pi would send, in the format of this kind of path."""
    body = {"model": model, "stream": stream}
    if kind.endswith("responses"):
        return {**body, "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}
    body["messages"] = [{"role": "user", "content": "hi"}]
    if kind in ("anthropic", "openrouter messages"):
        return {**body, "max_tokens": 1000}
    return {**body, "stream_options": {"include_usage": True}}
