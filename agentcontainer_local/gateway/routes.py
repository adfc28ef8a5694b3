"""The allowed paths of model calls."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from agentcontainer_local.providers import PROVIDERS, Provider

Dialect = Literal["messages", "responses", "completions", "count"]


@dataclass(frozen=True)
class Route:
    provider: str
    dialect: Dialect
    path: str  # below the provider's base URL


PATHS: dict[Dialect, str] = {"messages": "messages", "responses": "responses", "completions": "chat/completions"}


def _routes_of(provider: Provider) -> Iterator[tuple[str, Route]]:
    """A provider's routes: all APIs, for servers of the account's choice. Only Anthropic's counts tokens."""
    for dialect, path in PATHS.items():
        below = f"{provider.version}/{path}"
        yield f"/{provider.gateway_path}{below}", Route(provider.name, dialect, below)
        if dialect == provider.api == "messages":
            below += "/count_tokens"
            yield f"/{provider.gateway_path}{below}", Route(provider.name, "count", below)


ROUTES = {path.encode(): route for provider in PROVIDERS.values() for path, route in _routes_of(provider)}
ROUTES[b"/openrouter/v1/messages"] = ROUTES[b"/openrouter/api/v1/messages"]


def find(raw_path: bytes) -> Route | None:
    """The route of a path, or None. The path must match byte for byte, so encoded or dotted variants are rejected.

    Pi calls OpenRouter's Claude models at `…/api/v1` + `/v1/messages`.
    """
    return ROUTES.get(raw_path.replace(b"/v1/v1/", b"/v1/"))
