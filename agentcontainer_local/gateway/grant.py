"""What one task may call: provider, models, key and address."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from agentcontainer_local.gateway.token_estimate import Known
from agentcontainer_local.store.tasks import SCRIPTED, Reserved, Usage, Worst


@dataclass
class Progress:
    """How far a call at work has come; `answering` since its answer began. By the steady clock."""

    model: str = ""
    address: str = ""
    attempt: int = 1
    steady: Callable[[], float] = time.monotonic
    answering: float | None = None
    characters: int = 0
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.steady()

    def began(self) -> None:
        self.answering = self.steady()

    def seconds(self) -> float:
        """For how long the call waits for its answer, or the answer comes."""
        return self.steady() - (self.answering or self.since)

    def facts(self) -> dict[str, str | int | float]:
        """As on the wire."""
        waited = (self.answering or self.steady()) - self.since
        state = "waiting" if self.answering is None else "answering"
        return {
            "state": state,
            "model": self.model,
            "attempt": self.attempt,
            "waitedSeconds": round(waited, 1),
            "receivedCharacters": self.characters,
        }

    def came(self, characters: int) -> None:
        self.characters = characters


@dataclass(frozen=True)
class Grant:
    """`task_id`: whose calls these are. `models`: the ids as Pi sends them (the task's model and its weak one).

    `base_url`: as the vendor's SDK takes it: see `providers`.
    `reserve`: called before a model is asked, with the most that the call can use; raises tasks.Refused.
    `settle`: called on the event loop, once for each call that was reserved, failed and cut ones too.
    `capped`: a budget is in force, so every call must have an upper bound.
    `known`: what earlier calls of the same run have shown.
    `free`: models that cost nothing.
    `own_address`: the base URL is not the vendor's. `key_source`: where the key comes from.
    `reached`: whether the address has answered this task before.
    `learn`: told of a prompt that was too long (model, window if the error said it, bytes of the request); answers
    whether Pi has to be started anew before it can go on.
    `working`: is told of each call that is at work, and (None) of its end.
    `all_upstream`: the upstream answers for the scripted model too.
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
    free: frozenset[str] = frozenset()
    own_address: bool = False
    key_source: Literal["task", "agent", "store", "environment"] | None = None
    reached: Callable[[], bool] = lambda: False
    learn: Callable[[str, int | None, int], bool] = lambda model, window, size: False
    working: Callable[[Progress | None], None] = lambda progress: None
    refuse: str | None = None
    task_id: str = ""
    all_upstream: bool = False

    def plays(self, model: str) -> bool:
        """Whether the scripted model answers this call."""
        return (self.scripted or model == SCRIPTED) and not self.all_upstream
