"""What a simulated agent does: steps, one after another.

A script is given for a task by a function that a test hands to the backend. Where there is none, the agent follows its
model, as Pi does. The steps of an autonomous task go on where they were after hibernation or a death; each message of a
conversation is a turn of its own, for which the function is asked anew.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Say:
    """Words of the answer."""

    text: str


@dataclass(frozen=True)
class Tool:
    """A command of the shell and what it printed. `files`: what it left in the workspace, by path."""

    command: str
    output: str = ""
    failed: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Time passes, by the clock that the backend was given."""

    seconds: float


@dataclass(frozen=True)
class Hibernate:
    """The next step is played when the task was woken."""

    seconds: float
    message: str | None = None


@dataclass(frozen=True)
class Attach:
    """Files that come with a conversation's answer, by path."""

    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Finish:
    """Ends the task. `outputs`: by their names in the task's output policy, each as (filename, content)."""

    message: str = "Done"
    files: Mapping[str, bytes] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    incomplete: bool = False
    may_be_refused: bool = False  # then the next step is played; else a refusal fails the task


@dataclass(frozen=True)
class Fail:
    """The model cannot go on, for this reason: it ends an autonomous task, or a conversation's turn."""

    error: str


@dataclass(frozen=True)
class Die:
    """The agent's program ends. The task is started again, up to three times in a row, and the next step is played."""

    last_words: str = "Pi ended with exit code 1."


@dataclass(frozen=True)
class Exceed:
    """The run goes beyond a limit (a field of resource_limits.Limits). `used`: in the limit's unit; None: not known."""

    limit: str
    used: int | None = None


@dataclass(frozen=True)
class FollowModel:
    """Asks the task's model, does what it says, and asks again, until it calls no more tools."""


Step = Say | Tool | Wait | Hibernate | Attach | Finish | Fail | Die | Exceed | FollowModel


@dataclass(frozen=True)
class Script:
    steps: tuple[Step, ...]
    name: str = "script"  # for messages about it


def script(*steps: Step, name: str = "script") -> Script:
    return Script(steps, name)


FOLLOW_MODEL = Script((FollowModel(),), "the model")


@dataclass(frozen=True)
class Turn:
    """What an agent is asked: an autonomous task as a whole, or one message of a conversation."""

    task_id: str
    mode: Literal["autonomous", "conversation"]
    provider: str
    model: str
    message: str  # with what the host adds to it


Scripts = Callable[[Turn], Script | None]  # None: this one follows its model


def no_scripts(turn: Turn) -> None:
    return None
