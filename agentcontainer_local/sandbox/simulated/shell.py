"""A minimal shell for simulated agents. It never starts a program.

It supports simple commands, joined by `;`, `&&`, `||` and line breaks, with quotes, here-documents, `>`, `>>` and `<`,
and the variables `$?`, `$HOME`, `$PWD` and `$PPID`. Pipelines, and commands that are not in BUILT_IN, are not run: they
succeed, a file for their output gets a placeholder, and the block's output says so. Comments can specify their result;
a real shell ignores these:

    python3 sums.py
    # simulated output: 6
    # simulated file sums.txt: 6
    # simulated exit: 0
"""

import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agentcontainer_local.sandbox.simulated.files import HOME, FileProblem, Kept

COMMENT = re.compile(r"^\s*#(.*)$", re.MULTILINE)
GIVEN = re.compile(r"\s*simulated (?:(output|exit)|file (.+?)): ?(.*)")
HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
STDERR = re.compile(r"(?<=\s)2>(?:&1|\s*/dev/null)")
OPERATORS = "();<>|&\n"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PPID = "1"
EXIT = "exit"


@dataclass(frozen=True)
class Ran:
    """A command's result. `ends`: it ends the run. `died`: the last output of the agent's program that it killed."""

    output: str = ""
    code: int = 0
    ends: bool = False
    died: str | None = None


Command = Callable[[list[str]], Awaitable[Ran]]


@dataclass
class Simple:
    """A simple command. `after`: the operator before it. `piped`: it is part of a pipeline."""

    after: str
    words: list[str] = field(default_factory=list)
    stdin: str | None = None
    reads: str | None = None  # a file
    writes: str | None = None
    appends: bool = False
    piped: bool = False


@dataclass
class Given:
    """The results that a block's comments specify for commands that are not run."""

    lines: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    code: int = 0

    def __bool__(self) -> bool:
        return bool(self.lines or self.files or self.code)


class Shell:
    """`commands`: the guest's own commands: finish, hibernate and attach."""

    def __init__(self, kept: Kept, commands: dict[str, Command], sleep: Callable[[float], Awaitable[None]]):
        self.kept = kept
        self.sleep = sleep
        self._commands = commands

    async def run(self, block: str) -> Ran:
        given = _given(block)
        try:
            steps = parsed(block)
        except ValueError as error:
            return Ran(f"bash: syntax error: {error}\n", 2)
        output, code = "", 0
        skipped: list[str] = []
        for step in steps:
            if (step.after == "&&" and code != 0) or (step.after == "||" and code == 0):
                continue
            words = [_expanded(word, code) for word in step.words]
            known = words and words[0] in (*self._commands, *BUILT_IN) and not step.piped
            ran = await self._known(step, words) if known else self._not_run(step, words, given, skipped)
            output, code = output + self._redirected(step, ran.output), ran.code
            if ran.ends or ran.died is not None or words[:1] == [EXIT]:
                return Ran(output, code, ran.ends, ran.died)
        if given:  # a block in which every command is known
            output += self._take(given)
        if skipped:
            output += f"[simulated: not run: {', '.join(dict.fromkeys(skipped))}]\n"
        return Ran(output, code)

    async def _known(self, step: Simple, words: list[str]) -> Ran:
        if own := self._commands.get(words[0]):
            return await own(words[1:])
        try:
            stdin = step.stdin if step.reads is None else self.kept.read(step.reads).decode(errors="replace")
            return await BUILT_IN[words[0]](self, words[1:], stdin)
        except FileProblem as problem:
            return Ran(f"{' '.join(words)}: {problem}\n", 1)

    def _not_run(self, step: Simple, words: list[str], given: Given, skipped: list[str]) -> Ran:
        if given:
            return Ran(self._take(given), given.code)
        skipped.append(words[0] if words else "(")
        return Ran("[simulated]\n" if step.writes else "", 0)

    def _take(self, given: Given) -> str:
        """Applies the results, once per block. Returns the output."""
        output = "".join(f"{line}\n" for line in given.lines)
        for name, lines in given.files.items():
            self.kept.write(name, "".join(f"{line}\n" for line in lines).encode())
        given.lines, given.files = [], {}
        return output

    def _redirected(self, step: Simple, output: str) -> str:
        """Writes redirected output to its file. Returns the rest."""
        if step.writes is None:
            return output
        if step.writes != "/dev/null":
            try:
                self.kept.write(step.writes, output.encode(errors="replace"), step.appends)
            except FileProblem as problem:
                return f"bash: {step.writes}: {problem}\n"
        return ""


def parsed(block: str) -> list[Simple]:
    """The commands of a block. Raises ValueError for unclosed quotes."""
    text, documents = _without_documents(block)
    text = STDERR.sub("", COMMENT.sub("", text.replace("\\\n", " ")))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    steps, waiting = [Simple(";")], ""
    for token in lexer:
        step = steps[-1]
        if waiting:
            _redirect(step, waiting, token, documents)
            waiting = ""
        elif set(token) <= set(OPERATORS):
            operator = token.strip("\n") or ";"
            if operator[0] in "<>":
                waiting = operator
            else:
                piped = operator in ("|", "|&")
                step.piped = step.piped or piped
                steps.append(Simple(operator if operator in ("&&", "||") else ";", piped=piped))
        else:
            step.words.append(token)
    return [step for step in steps if step.words]


def _redirect(step: Simple, operator: str, target: str, documents: list[str]) -> None:
    if operator == "<<":
        step.stdin = documents[int(target)]
    elif operator == "<":
        step.reads = target
    else:
        step.writes, step.appends = target, operator == ">>"


def _without_documents(block: str) -> tuple[str, list[str]]:
    """The text with each here-document replaced by its number, and the documents."""
    kept: list[str] = []
    documents: list[str] = []
    lines = iter(block.split("\n"))
    for line in lines:
        while found := HERE.search(line):
            content = []
            for inner in lines:
                if inner.strip() == found[2]:
                    break
                content.append(inner)
            line = f"{line[: found.start()]}<< {len(documents)} {line[found.end() :]}"
            documents.append("".join(f"{inner}\n" for inner in content))
            break
        kept.append(line)
    return "\n".join(kept), documents


def _given(block: str) -> Given:
    given = Given()
    for comment in COMMENT.findall(block):
        if (found := GIVEN.fullmatch(comment)) is None:
            continue
        if found[2]:
            given.files.setdefault(found[2], []).append(found[3])
        elif found[1] == "output":
            given.lines.append(found[3])
        else:
            given.code = int(found[3]) if found[3].isdecimal() else 1
    return given


def _expanded(word: str, code: int) -> str:
    for name, value in (("$?", str(code)), ("$HOME", HOME), ("$PWD", HOME), ("$PPID", PPID)):
        word = word.replace(name, value)
    return word


def seconds(text: str) -> float:
    """The seconds of `sleep 90` or `sleep 2h`. Raises ValueError."""
    unit = UNITS.get(text[-1:], 0)
    return float(text[:-1]) * unit if unit else float(text)


# The known commands: (shell, arguments, stdin) → result


async def _true(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    return Ran()


async def _false(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    return Ran(code=1)


async def _exit(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    return Ran(code=int(arguments[0]) if arguments[:1] and arguments[0].isdecimal() else 0)


async def _pwd(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    return Ran(f"{HOME}\n")


async def _echo(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    bare = arguments[:1] == ["-n"]
    return Ran(" ".join(arguments[bare:]) + ("" if bare else "\n"))


async def _printf(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    text, *values = arguments or [""]
    for value in values:
        text = text.replace("%s", value, 1)
    return Ran(text.replace("\\n", "\n").replace("\\t", "\t"))


async def _cat(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    if not arguments:
        return Ran(stdin or "")
    output, code = "", 0
    for name in arguments:
        try:
            output += shell.kept.read(name).decode(errors="replace")
        except FileProblem as problem:
            output, code = f"{output}cat: {name}: {problem}\n", 1
    return Ran(output, code)


async def _touch(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    for name in arguments:
        shell.kept.write(name, b"", append=True)
    return Ran()


async def _rm(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    for name in (name for name in arguments if not name.startswith("-")):
        path = shell.kept.path(name)
        if path.is_file():
            path.unlink()
        elif "-f" not in arguments:
            raise FileProblem("there is no such file")
    return Ran()


async def _sleep(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    try:
        await shell.sleep(sum(map(seconds, arguments)))
    except ValueError:
        return Ran(f"sleep: invalid time interval {' '.join(arguments)}\n", 1)
    return Ran()


async def _kill(shell: Shell, arguments: list[str], stdin: str | None) -> Ran:
    """Kills the agent's own program. There are no others."""
    if arguments[-1:] == [PPID]:
        return Ran(code=137, died="Pi ended with signal SIGKILL.")
    return Ran("kill: no such process\n", 1)


BUILT_IN: dict[str, Callable[[Shell, list[str], str | None], Awaitable[Ran]]] = {
    "true": _true,
    ":": _true,
    "false": _false,
    EXIT: _exit,
    "pwd": _pwd,
    "echo": _echo,
    "printf": _printf,
    "cat": _cat,
    "touch": _touch,
    "mkdir": _true,  # a directory is created with its first file
    "rm": _rm,
    "sleep": _sleep,
    "kill": _kill,
}
