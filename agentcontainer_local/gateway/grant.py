"""What one task may call."""

from collections.abc import Callable
from dataclasses import dataclass, field

from agentcontainer_local.gateway.usage import Usage

SCRIPTED = "scripted"               # this model id is the built-in one, whatever the provider


@dataclass(frozen=True)
class Grant:
    """`models`: the ids as Pi sends them (the task's model and its weak one).

    `base_url`: as the vendor's SDK takes it: with /v1 for openai, with /api/v1 for openrouter, without for anthropic.
    `record`: called on the event loop, once for each call that the model was asked, failed and cut ones too.
    `refuse`: why no call is allowed now. It reaches Pi, which retries some refusals by their words: keep them plain.
    """

    provider: str
    models: frozenset[str]
    api_key: str | None = field(repr=False)
    base_url: str
    scripted: bool
    conversation: bool
    record: Callable[[Usage], None]
    refuse: str | None = None

    def plays(self, model: str) -> bool:
        """Whether the scripted model answers this call."""
        return self.scripted or model == SCRIPTED
