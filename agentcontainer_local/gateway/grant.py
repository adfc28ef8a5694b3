"""The permissions of a task for model calls: provider, models, key and address."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from agentcontainer_local.gateway.token_estimate import Known
from agentcontainer_local.store.tasks import SCRIPTED, Reserved, Usage, Worst


@dataclass
class Progress:
    """Progress of a call, by the steady clock. `answering`: when its answer began, or None."""

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
        """How long the call has waited for its answer, or the answer has been arriving."""
        return self.steady() - (self.answering or self.since)

    def facts(self) -> dict[str, str | int | float]:
        """The progress as the API shows it."""
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
    """What a task may call, and how its calls are reserved and settled.

    - `task_id`: the task that makes the calls.
    - `models`: the ids as Pi sends them (the task's model and its weak one).
    - `base_url`: as the vendor's SDK takes it, see `providers`.
    - `reserve`: called before a model is asked, with the most that the call can use; raises tasks.Refused.
    - `settle`: called on the event loop, once for each reserved call, including failed and cut ones.
    - `capped`: a budget applies, so every call must have an upper bound.
    - `known`: facts from earlier calls of the same run.
    - `free`: models that cost nothing.
    - `own_address`: the base URL is not the vendor's.
    - `key_source`: where the key comes from.
    - `reached`: whether the address has answered this task before.
    - `learn`: called when a prompt was too long (model, window if the error named it, bytes of the request); returns
      whether Pi has to be restarted before it can continue.
    - `working`: called with the progress of each call when it begins, and with None when it ends.
    - `all_upstream`: the upstream also answers calls of the scripted model.
    - `refuse`: why no call is allowed now. Pi retries errors with certain words, such as "timeout": avoid those.
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
