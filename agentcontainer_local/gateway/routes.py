"""The paths of a model call, and no others."""

from dataclasses import dataclass
from typing import Literal

Dialect = Literal["messages", "responses", "completions", "count"]


@dataclass(frozen=True)
class Route:
    provider: str
    dialect: Dialect
    path: str  # below the provider's base URL


# Each provider's own ones first; then those of other servers at a base URL of the account's own.
ROUTES = {
    b"/anthropic/v1/messages": Route("anthropic", "messages", "/v1/messages"),
    b"/anthropic/v1/messages/count_tokens": Route("anthropic", "count", "/v1/messages/count_tokens"),
    b"/openai/v1/responses": Route("openai", "responses", "/responses"),
    b"/openai/v1/chat/completions": Route("openai", "completions", "/chat/completions"),
    b"/openrouter/api/v1/chat/completions": Route("openrouter", "completions", "/chat/completions"),
    b"/openrouter/api/v1/responses": Route("openrouter", "responses", "/responses"),
    b"/openrouter/api/v1/messages": Route("openrouter", "messages", "/messages"),
    b"/openrouter/v1/messages": Route("openrouter", "messages", "/messages"),
    b"/anthropic/v1/responses": Route("anthropic", "responses", "/v1/responses"),
    b"/anthropic/v1/chat/completions": Route("anthropic", "completions", "/v1/chat/completions"),
    b"/openai/v1/messages": Route("openai", "messages", "/messages"),
}


def find(raw_path: bytes) -> Route | None:
    """The route of a path as it came over the wire: only these very bytes, so nothing encoded, doubled or dotted.

    Pi calls OpenRouter's Claude models at `…/api/v1` + `/v1/messages`.
    """
    return ROUTES.get(raw_path.replace(b"/v1/v1/", b"/v1/"))
