"""The model providers: everything in which they differ, one entry each.

A new provider is a name and an entry here, a name in the CHECK of two tables (migrations.sql) and in the page's list
(`web/static/execution.js`); `python -m tests.client_bodies` writes the client's types. Tests compare them. Pi must know
it, under the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from agentcontainer_local.environment import variable

Name = Literal["anthropic", "openrouter", "openai"]  # in the published order
Api = Literal["responses", "chat-completions", "messages"]
SETTINGS = ("BASE_URL", "API", "CONTEXT_WINDOW", "MAX_OUTPUT", "IMAGES", "FREE")  # each a variable of its own


@dataclass(frozen=True)
class Provider:
    """`version`: what the vendor's SDK puts before each path, where the base URL does not have it.

    `dashed`: ids of models have dashes where people write dots (`claude-sonnet-4-5`).
    `is_router`: it passes calls on to other vendors, so that one model has several prices, and takes one credential
    on the paths of every API.
    `max_tokens`: fields by which a chat completion limits its answer; the first is used where none is given.
    """

    name: str
    base_url: str  # the vendor's, as its SDK takes it
    api: Api  # which Pi uses with it, where nothing else is set
    version: str = ""
    dashed: bool = False
    is_router: bool = False
    max_tokens: tuple[str, ...] = ("max_tokens", "max_completion_tokens")

    @property
    def key_variable(self) -> str:
        return f"{self.name.upper()}_API_KEY"

    def variable(self, setting: str) -> str:
        return variable(f"{self.name}_{setting}")

    @property
    def gateway_path(self) -> str:
        """Where the gateway stands in for the base URL: `openai/v1`."""
        return self.name + urlsplit(self.base_url).path


PROVIDERS: Mapping[str, Provider] = {
    one.name: one
    for one in (
        Provider("anthropic", "https://api.anthropic.com", "messages", version="/v1", dashed=True),
        Provider("openrouter", "https://openrouter.ai/api/v1", "chat-completions", is_router=True),
        Provider(
            "openai", "https://api.openai.com/v1", "responses", max_tokens=("max_completion_tokens", "max_tokens")
        ),
    )
}
NAMES = sorted(PROVIDERS)  # in the order in which an account's default is looked for
IN_WORDS = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}"
SCRIPTED_AS = "anthropic"  # whose API the scripted model speaks where no provider is chosen
