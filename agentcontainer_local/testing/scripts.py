"""Scripts: what the agents of which tasks do."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from agentcontainer_local.testing.steps import Fail, Finish, Step, name_of

Match = str | re.Pattern[str]  # a part of the text, or a pattern that is searched in it
Turns = tuple[tuple[Step, ...], ...]


class BadScript(AssertionError):
    """A script is wrong in itself, or does not fit a task that it was used for. The message names script and step."""


@dataclass(frozen=True)
class Task:
    """What a script can be chosen by. `texts`: the instructions, and the first message of a conversation."""

    id: str
    agent: tuple[str, str]  # id, name
    texts: tuple[str, ...]
    model: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Script:
    """`turns`: of a conversation, in order; an autonomous task has one. With `every`, the one turn answers every
    message. `times`: how many tasks may use it; None: any number."""

    name: str
    turns: Turns
    every: bool
    agent: str | None = None
    instructions: Match | None = None
    model: Match | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    times: int | None = None
    tasks: list[str] = field(default_factory=list)  # the ids of those that used it

    def fits(self, task: Task) -> bool:
        return (
            (self.times is None or len(self.tasks) < self.times)
            and (self.agent is None or self.agent in task.agent)
            and (self.instructions is None or any(_matches(self.instructions, text) for text in task.texts))
            and (self.model is None or _matches(self.model, task.model, whole=True))
            and all(name in task.metadata and task.metadata[name] == value for name, value in self.metadata.items())
        )

    def where(self, step: int, turn: int = 0) -> str:
        """Names a step for people: `script "report", step 2 (finish)`. `step` and `turn` count from 0."""
        said = f", turn {turn + 1}" if len(self.turns) > 1 else ""
        return f'script "{self.name}"{said}, step {step + 1} ({name_of(self.turns[turn][step])})'


class Scripts:
    """All scripts of one server. The newest that fits a task is used for it, from its first model call to its end."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """There is none."""
        self._scripts: list[Script] = []
        self._chosen: dict[str, Script | None] = {}
        self._numbers = itertools.count(1)
        self.problems: list[str] = []

    def add(
        self,
        *steps: Step | Sequence[Step],
        name: str | None,
        agent: str | None,
        instructions: Match | None,
        model: Match | None,
        metadata: Mapping[str, Any] | None,
        times: int | None,
    ) -> Script:
        """Raises BadScript."""
        name = name or f"script {next(self._numbers)}"
        turns, every = _turns(name, steps)
        _check(name, turns)
        _check_choice(name, agent, instructions, model, metadata, times)
        script = Script(name, turns, every, agent, instructions, model, dict(metadata or {}), times)
        self._scripts.append(script)
        return script

    def of(self, task: Task) -> Script | None:
        """The script of a task; None: none fits, and it follows the scripted model."""
        if task.id not in self._chosen:
            script = next((one for one in reversed(self._scripts) if one.fits(task)), None)
            if script is not None:
                script.tasks.append(task.id)
            self._chosen[task.id] = script
        return self._chosen[task.id]

    def named_agents(self) -> Mapping[str, str]:
        """The agents that scripts name, each with such a script's name."""
        return {script.agent: script.name for script in self._scripts if script.agent is not None}

    def problem(self, words: str) -> None:
        """Kept for `Server.check`."""
        if words not in self.problems:
            self.problems.append(words)


def _matches(match: Match, text: str, whole: bool = False) -> bool:
    if isinstance(match, re.Pattern):
        return match.search(text) is not None
    return match == text if whole else match in text


def _turns(name: str, given: Sequence[Step | Sequence[Step]]) -> tuple[Turns, bool]:
    lists = [isinstance(one, list | tuple) for one in given]
    if not given or any(lists) != all(lists):
        raise BadScript(f'script "{name}": give steps, or one list of steps for each turn of a conversation.')
    turns = tuple(tuple(one) for one in given) if all(lists) else (tuple(given),)  # type: ignore[arg-type]
    return turns, not all(lists)  # type: ignore[return-value]


def _check_choice(name: str, agent: Any, instructions: Any, model: Any, metadata: Any, times: Any) -> None:
    """Of what chooses the tasks."""
    if times is not None and not (isinstance(times, int) and times >= 1):
        raise BadScript(f'script "{name}": times is {times!r}. Give a whole number from 1.')
    if agent is not None and not isinstance(agent, str):
        raise BadScript(f'script "{name}": agent is {agent!r}. Give an id or a name.')
    for what, match in (("instructions", instructions), ("model", model)):
        text = match.pattern if isinstance(match, re.Pattern) else match
        if text is not None and not isinstance(text, str):
            raise BadScript(f'script "{name}": {what} is {match!r}. Give text, or a compiled pattern of text.')
    if metadata is not None and not isinstance(metadata, Mapping):
        raise BadScript(f'script "{name}": metadata is {metadata!r}. Give a dict.')


def _check(name: str, turns: Turns) -> None:
    for number, steps in enumerate(turns):
        for at, step in enumerate(steps):
            if not isinstance(step, get_args(Step)):
                raise BadScript(
                    f'script "{name}", turn {number + 1}, step {at + 1}: {step!r} is not a step.'
                    " Use say, tool, wait, hibernate, attach, finish, fail or die."
                )
        where = Script(name, turns, every=False).where
        ends = [at for at, step in enumerate(steps) if isinstance(step, Finish | Fail)]
        if ends and ends[0] < len(steps) - 1:
            raise BadScript(f"{where(ends[0] + 1, number)} comes after {name_of(steps[ends[0]])}. Remove it.")
        if not steps:
            raise BadScript(
                f'script "{name}", turn {number + 1} has no step. Give at least one, such as say("Hello.").'
            )
        if number < len(turns) - 1 and isinstance(steps[-1], Finish):
            raise BadScript(f'script "{name}", turn {number + 2} comes after finish, which ends the conversation.')
