"""From the steps of a script to answers of a model: text, and at most one call of a tool in each."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from agentcontainer_local.testing.steps import Attach, Die, Fail, Finish, Hibernate, Say, Step, Tool, Wait

KILL = "kill -9 $PPID"  # in Pi's shell, that is Pi


@dataclass(frozen=True)
class Call:
    """A call of a tool. `prints`: instead of running the command, with the exit code; `writes`: content of the file
    that is written. In both cases the agent's history shows `tool` and `given`, and something else is run."""

    tool: str
    given: dict[str, Any]
    prints: tuple[str, int] | None = None
    writes: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Move:
    """One answer of the model. `step`: the step that it comes from, from 0. `asks`: the host may refuse the call."""

    step: int
    wait_seconds: float = 0
    text: str = ""
    call: Call | None = None
    error: str | None = None
    asks: bool = False


def moves(steps: Sequence[Step], conversation: bool) -> list[Move]:
    return list(_moves(steps, conversation))


def _moves(steps: Sequence[Step], conversation: bool) -> Iterator[Move]:
    """What is said, and the wait, come with the next call, because an answer without a call ends the turn."""
    said: list[str] = []
    seconds = 0.0
    for at, step in enumerate(steps):
        if isinstance(step, Say):
            said.append(step.text)
            continue
        if isinstance(step, Wait):
            seconds += step.seconds
            continue
        if isinstance(step, Fail):
            yield Move(at, seconds, error=step.error)
            return
        for call, asks in _calls(step, conversation):
            yield Move(at, seconds, "\n\n".join(said), call, asks=asks)
            said, seconds = [], 0.0
    last = len(steps) - 1
    if isinstance(steps[last], Finish):
        return
    if conversation:
        yield Move(last, seconds, "\n\n".join(said) or "Done.")
    else:
        yield from (
            Move(last, seconds, "\n\n".join(said), call, asks=True) for call, _ in _calls(Finish(), conversation)
        )


def _calls(step: Step, conversation: bool) -> Iterator[tuple[Call, bool]]:
    """The calls that a step is made of; the last one of an attach or a finish is what the host is asked."""
    match step:
        case Tool(command, output, code):
            yield Call("bash", {"command": command}, None if output is None else (output, code)), False
        case Die():
            yield Call("bash", {"command": KILL}), False
        case Hibernate(seconds):
            yield Call("hibernate", {"for": f"{int(seconds)}s"}), True
        case Attach(files):
            yield from ((_write(name, content), False) for name, content in files.items())
            yield Call("attach", {"files": list(files)}), True
        case Finish():
            contents = {**step.files, **dict(step.outputs.values())}
            yield from ((_write(name, content), False) for name, content in contents.items())
            yield (_finish_command(step) if conversation else _finish(step)), True


def _write(name: str, content: bytes) -> Call:
    return Call("write", {"path": name}, writes=(name, content))


def _finish(step: Finish) -> Call:
    given: dict[str, Any] = {"completion": "incomplete" if step.incomplete else "complete", "message": step.message}
    if step.files:
        given["files"] = list(step.files)
    if step.outputs:
        given["outputs"] = [{"name": name, "path": path} for name, (path, _) in step.outputs.items()]
    return Call("finish", given)


def _finish_command(step: Finish) -> Call:
    """A conversation's agent has no tool for it, but the command."""
    words = ["finish", "--incomplete-task" if step.incomplete else "--complete-task", "--message", step.message]
    words += [word for name, (path, _) in step.outputs.items() for word in ("--output", f"{name}={path}")]
    return Call("bash", {"command": shlex.join([*words, *step.files])})
