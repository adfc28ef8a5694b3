"""Parses the fenced blocks of a message into steps."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(r" {0,3}(`{3,})(?!`)")
KIND = re.compile(r"\s*([A-Za-z]*)")
KINDS = ("bash", "finish", "say", "done")
DEFAULT_FINISH = 'finish --complete-task --message "Done"'


@dataclass(frozen=True)
class Step:
    say: str  # text before the call
    command: str


@dataclass(frozen=True)
class Script:
    """The steps of a message. `done`: commands that, according to a summary, were run for earlier messages."""

    steps: tuple[Step, ...] = ()
    say: str = ""  # text at the end
    done: tuple[str, ...] = ()


def is_finish(command: str) -> bool:
    return command.split(maxsplit=1)[:1] == ["finish"]


def script(text: str) -> Script:
    """The script in a message. The steps keep their order, except that the last `finish` comes last. A finish block has
    only arguments."""
    steps: list[Step] = []
    last: Step | None = None
    said: list[str] = []
    done: list[str] = []
    for kind, content in _blocks(text):
        if kind == "say":
            said.append(content)
        elif kind == "done":
            done.append(content)
        else:
            steps.append(Step("\n".join(said), content if kind == "bash" else _finish(content)))
            last = steps[-1] if kind == "finish" else last
            said = []
    if last is not None:
        steps = [*(step for step in steps if step is not last), last]
    return Script(tuple(steps), "\n".join(said), tuple(done))


def _finish(arguments: str) -> str:
    arguments = arguments.strip()
    return arguments if is_finish(arguments) else f"finish {arguments}".rstrip()


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """The blocks of a text. As in Markdown, a block ends with a fence as long as its first one, or with the text."""
    fence, kind = "", ""
    lines: list[str] = []
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        if not fence:
            if (head := FENCE.match(line)) and "`" not in (behind := line[head.end() :]):
                fence, kind, lines = head[1], KIND.findall(behind)[0].lower(), []
        elif (closing := line.strip()).startswith(fence) and not closing.strip("`"):
            yield from _kept(kind, lines)
            fence = ""
        else:
            lines.append(line)
    if fence:
        yield from _kept(kind, lines)


def _kept(kind: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    if kind in KINDS:
        yield kind, "\n".join(lines)


def written(kind: str, content: str) -> str:
    """The content as a block, with a fence that is longer than any in the content."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{content}\n{fence}"
