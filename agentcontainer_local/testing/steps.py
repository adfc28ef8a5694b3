"""The steps of a script: what an agent says and does, one after another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_SECONDS = 30 * 86_400  # as `hibernate` allows


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Tool:
    command: str
    output: str | None = None  # None: the command is run
    exit_code: int = 0


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Hibernate:
    seconds: float


@dataclass(frozen=True)
class Attach:
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Finish:
    message: str = "Done"
    files: Mapping[str, bytes] = field(default_factory=dict)
    outputs: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    incomplete: bool = False


@dataclass(frozen=True)
class Fail:
    error: str


@dataclass(frozen=True)
class Die:
    pass


Step = Say | Tool | Wait | Hibernate | Attach | Finish | Fail | Die


def say(text: str) -> Say:
    """Words of the agent. As the last step of a conversation's turn, they are the answer."""
    if not _text("say", "text", text):
        raise ValueError("say: the text is empty. Give at least one character.")
    return Say(text)


def tool(command: str, output: str | None = None, exit_code: int = 0) -> Tool:
    """A call of the agent's shell.

    With `output`, the command is not run: the call prints this text and ends with `exit_code`. Without it, the command
    is run: in the container, or by the simulated shell, which knows few commands and skips all others.
    """
    if not _text("tool", "command", command).strip():
        raise ValueError("tool: the command is empty. Give a shell command.")
    if output is not None:
        _text("tool", "output", output)
    if "\0" in command + (output or ""):
        raise ValueError("tool: a shell has no NUL characters. Remove them.")
    if not isinstance(exit_code, int) or not 0 <= exit_code <= 255:
        raise ValueError(f"tool: {exit_code!r} is not an exit code. Give 0 to 255.")
    if output is None and exit_code:
        raise ValueError("tool: an exit code needs an output. Give output= as well.")
    return Tool(command, output, exit_code)


def wait(seconds: float) -> Wait:
    """The model thinks for so many seconds of the server's clock, which `ac.clock.advance` moves."""
    return Wait(_seconds("wait", seconds, 0))


def hibernate(seconds: float) -> Hibernate:
    """The task sleeps. The next step follows when the time has come, or when the task is woken. For autonomous tasks.

    `seconds`: 1 to 2,592,000 (30 days), a whole number.
    """
    if _seconds("hibernate", seconds, 1) != int(seconds):
        raise ValueError(f"hibernate: {seconds} is not a whole number of seconds.")
    return Hibernate(seconds)


def attach(files: Mapping[str, bytes]) -> Attach:
    """Files for the answer of a conversation's turn: content by name."""
    if not files:
        raise ValueError("attach: there are no files. Give at least one.")
    return Attach({name: _bytes("attach", name, content) for name, content in _mapping("attach", "files", files)})


def finish(
    message: str = "Done",
    files: Mapping[str, bytes] | None = None,
    outputs: Mapping[str, tuple[str, bytes]] | None = None,
    incomplete: bool = False,
) -> Finish:
    """The agent ends the task with its result and its output files.

    `files`: content by file name. `outputs`: for an output policy with named outputs, (file name, content) by output
    name. `incomplete`: the agent says that it could not do all of the task.
    """
    given = {name: _bytes("finish", name, content) for name, content in _mapping("finish", "files", files or {})}
    named = {name: _output(name, output) for name, output in _mapping("finish", "outputs", outputs or {})}
    names = [*given, *(file for file, _ in named.values())]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"finish: the file {twice[0]!r} is given twice. Give each file another name.")
    if not _text("finish", "message", message).strip():
        raise ValueError("finish: the message is empty. Say what the result is.")
    return Finish(message, given, named, incomplete)


def fail(error: str) -> Fail:
    """The model provider refuses the call with this error: an autonomous task fails, or a conversation's turn does."""
    if not _text("fail", "error", error).strip():
        raise ValueError("fail: the error is empty. Say what went wrong.")
    return Fail(error)


def die() -> Die:
    """The agent's process is killed. The task is started again, and the next step follows; the third death in a row
    fails the task."""
    return Die()


def _text(step: str, what: str, given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{step}: the {what} is {type(given).__name__}. Give a str.")
    return given


def _mapping(step: str, what: str, given: object) -> Iterable[tuple[str, Any]]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{step}: {what} is {type(given).__name__}. Give a dict.")
    return given.items()


def _output(name: str, given: object) -> tuple[str, bytes]:
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"finish: the output {name!r} is {type(given).__name__}. Give (file name, content).")
    return given[0], _bytes("finish", *given)


def _seconds(step: str, seconds: float, least: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError(f"{step}: {seconds!r} is not a number. Give seconds.")
    if not least <= seconds <= MAX_SECONDS:
        raise ValueError(f"{step}: {seconds} seconds are not allowed. Give {least} to {MAX_SECONDS}.")
    return seconds


def _bytes(step: str, name: object, content: object) -> bytes:
    if not isinstance(content, bytes):
        raise ValueError(f"{step}: the content of {name!r} is {type(content).__name__}. Give bytes.")
    parts = _text(step, "name of a file", name).split("/")
    if "" in (parts[0], parts[-1]) or parts[-1] == "." or ".." in parts:
        raise ValueError(f"{step}: {name!r} is not a name of a file in the workspace. Give a relative path.")
    return content


def name_of(step: Step) -> str:
    """As in a script: `finish`."""
    return type(step).__name__.lower()
