"""Scripts of simulated agents: a sequence of steps.

A test passes the backend a function that returns a script for a task. Without a script, the agent follows its model, as
Pi does. After hibernation or a death, an autonomous task continues with its next step. In a conversation each message
is a turn, and the function is called for each turn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Say:
    """Adds text to the answer."""

    text: str


@dataclass(frozen=True)
class Tool:
    """Runs a shell command with this output. `files`: the files that it leaves in the workspace, by path."""

    command: str
    output: str = ""
    failed: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Wait:
    """Waits, on the clock of the backend."""

    seconds: float


@dataclass(frozen=True)
class Hibernate:
    """Hibernates. The next step is played when the task was woken."""

    seconds: float
    message: str | None = None


@dataclass(frozen=True)
class Attach:
    """Adds files to a conversation's answer, by path."""

    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Finish:
    """Ends the task. `outputs`: (filename, content) by the names in the task's output policy."""

    message: str = "Done"
    files: Mapping[str, bytes] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    incomplete: bool = False
    may_be_refused: bool = False  # a refusal leads to the next step; otherwise it fails the task


@dataclass(frozen=True)
class Fail:
    """Fails with this error: ends an autonomous task, or a conversation's turn."""

    error: str


@dataclass(frozen=True)
class Die:
    """Ends the agent's program. The task restarts with the next step, and fails after three deaths in a row."""

    last_words: str = "Pi ended with exit code 1."


@dataclass(frozen=True)
class Exceed:
    """Exceeds a limit (a field of resource_limits.Limits). `used`: in the limit's unit; None: unknown."""

    limit: str
    used: int | None = None


@dataclass(frozen=True)
class FollowModel:
    """Asks the task's model, runs the tools that it calls, and repeats until it calls none."""


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
    """The prompt of an agent: an autonomous task, or one message of a conversation."""

    task_id: str
    mode: Literal["autonomous", "conversation"]
    provider: str
    model: str
    message: str  # with the text that the host adds


Scripts = Callable[[Turn], Script | None]  # None: the agent follows its model


def no_scripts(turn: Turn) -> None:
    return None
