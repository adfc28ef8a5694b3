"""What one task may call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agentcontainer_local.gateway.known import Known
from agentcontainer_local.gateway.usage import Usage
from agentcontainer_local.tasks import SCRIPTED, Reserved, Worst


@dataclass(frozen=True)
class Grant:
    """`models`: the ids as Pi sends them (the task's model and its weak one).

    `base_url`: as the vendor's SDK takes it: with /v1 for openai, with /api/v1 for openrouter, without for anthropic.
    `reserve`: called before a model is asked, with the most that the call can use; raises tasks.Refused.
    `settle`: called on the event loop, once for each call that was reserved, failed and cut ones too.
    `capped`: a budget is in force, so every call must have an upper bound.
    `known`: what earlier calls of the same run have shown.
    `refuse`: why no call is allowed now. It reaches Pi, which retries some refusals by their words: keep them plain.
    """

    provider: str
    models: frozenset[str]
    api_key: str | None = field(repr=False)
    base_url: str
    scripted: bool
    conversation: bool
    reserve: Callable[[Worst], Awaitable[Reserved]]
    settle: Callable[[Reserved, Usage], None]
    capped: bool = False
    known: Known = field(default_factory=Known, repr=False)
    refuse: str | None = None

    def plays(self, model: str) -> bool:
        """Whether the scripted model answers this call."""
        return self.scripted or model == SCRIPTED
