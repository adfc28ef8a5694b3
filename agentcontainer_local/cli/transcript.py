"""A task's events as lines: what was said, which tools ran, what they printed; and below them how it stands."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agentcontainer_local import schemas
from agentcontainer_local.cli import output
from agentcontainer_local.cli.exits import Exit, of_task
from agentcontainer_local.cli.output import Output
from agentcontainer_local.money import shown
from agentcontainer_local.process.text import clean, one_line

MAX_RETRIES = 5  # of a model call
FOLDED_LINES = 8  # of what a tool printed, the last ones


class Transcript:
    """Shows events one after another. `verbose`: all lines of commands and outputs. `users`: also what users said."""

    def __init__(self, out: Output, verbose: bool = False, users: bool = False):
        self._out = out
        self._verbose = verbose
        self._users = users
        self._calling: dict[str, Any] = {}  # how far the model's answer has come
        self._streamed = ""  # words of the answer that is coming
        self._printed: dict[str, Any] = {}  # what the command at work has printed last
        self._shown: dict[str, str] = {}  # what of each message has been shown
        self._began = time.monotonic()
        self._spinner = Spinner("dots" if "utf" in out.out.encoding.lower() else "line")
        self.status = "pending"
        self.task: schemas.Task | None = None
        self.hint: Callable[[], str] = lambda: ""

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """With a line below that says how it stands, on a terminal."""
        if not self._out.rich:
            yield
            return
        with Live(get_renderable=self._below, console=self._out.out, transient=True, refresh_per_second=8):
            yield

    def _below(self) -> Group:
        words = [self.status, output.duration(time.monotonic() - self._began)]
        if self.task is not None and self.task.token_usage.calls:
            words.append(usage(self.task))
        if words_of_call := _of_call(self._calling):
            words.append(words_of_call)
        if self.status == "pending" and (hint := self.hint()):
            words.append(one_line(hint))
        line = Text("  ".join(words), "dim", no_wrap=True, overflow="ellipsis")
        line.truncate(max(10, self._out.out.width - 3), overflow="ellipsis")
        self._spinner.update(text=line)
        rest = self._streamed.rpartition("\n")[2]
        above = [Text(clean(rest), "green")] if rest.strip() else []
        return Group(*above, *self._at_work(), self._spinner)

    def _at_work(self) -> list[Text]:
        lines = clean(self._printed.get("text", "")).strip("\n").split("\n")[-FOLDED_LINES:]
        return [Text(f"  {line}", "dim", no_wrap=True, overflow="ellipsis") for line in lines if line.strip()]

    def show(self, event: str, data: Any) -> None:
        match event:
            case "task.updated":
                self._moved(data)
            case "message.delta":
                self._stream(data["text"])
            case "message.created" | "message.updated" if data.get("role") == "assistant" and data.get("content"):
                self._said(data["id"], data["content"])
            case "message.created" if self._users:
                self._folded(Text("> ", "bold"), data["content"])
            case "model.call":
                self._calling = data
            case "activity.output":
                self._printed = data
            case "activity.started":
                self._started(data)
            case "activity.completed":
                self._ended(data)
            case "notice" if data.get("kind") == "retrying" and data.get("delayMs"):
                self._print(Text(clean(_retry(data)), "yellow"))
            case "notice" if data.get("kind") == "preparing":
                self._print(Text(clean(f"* {data['message']}"), "dim"))
            case "notice":
                words = data.get("message") or data.get("reason") or ""
                self._print(Text(clean(f"{data.get('kind', 'notice')}: {words}".rstrip(": ")), "yellow"))

    def _print(self, text: Text) -> None:
        self._out.out.print(text)

    def _moved(self, data: dict[str, Any]) -> None:
        if data["status"] == self.status == "pending":
            return
        self.status = data["status"]
        why = data.get("error") or data.get("reason") or ""
        self._print(Text.assemble(("* ", "dim"), output.status(self.status), clean(f": {why}") if why else ""))

    def _stream(self, words: str) -> None:
        """Whole lines are printed for good, the rest is shown below until more comes."""
        if not self._out.rich:
            return
        before = self._streamed.rpartition("\n")[0]
        self._streamed += words
        whole = self._streamed.rpartition("\n")[0]
        if len(whole) > len(before):
            for line in whole[len(before) :].removeprefix("\n").split("\n"):
                self._print(Text(clean(line), "green"))

    def _said(self, id: str, content: str) -> None:
        """What was not shown of it as it came."""
        shown = self._shown.get(id, "")
        new = content[len(shown) :] if content.startswith(shown) else content
        self._shown[id] = content
        came, new = self._streamed.lstrip(), new.strip()
        printed, _, rest = came.rpartition("\n")
        if came.startswith(new) or new.startswith(came.rstrip()):  # words of the next one may have come too
            new, self._streamed = new[len(printed) :].strip("\n"), came[len(new) :]
        else:
            if rest.strip():
                self._print(Text(clean(rest), "green"))
            self._streamed = ""
        if new.strip():
            self._print(Text(clean(new), "green"))

    def _started(self, data: dict[str, Any]) -> None:
        tool, given = data["toolKey"], data.get("input")
        if tool == "shell" and isinstance(given, dict) and isinstance(given.get("command"), str):
            self._folded(Text("$ ", "bold yellow"), given["command"])
        else:
            self._folded(Text(f"{clean(tool)} ", "bold yellow"), _brief(given))

    def _folded(self, head: Text, words: str) -> None:
        lines = clean(words).strip().split("\n")
        kept = lines if self._verbose else lines[:1]
        more = f"  ... {output.counted(len(lines) - 1, 'more line')}" if len(lines) > len(kept) else ""
        text = Text.assemble("\n".join(kept), (more, "dim"))
        if not self._verbose and self._out.rich:
            text.truncate(self._out.out.width * 3, overflow="ellipsis")
        self._out.hanging(head, text)

    def _ended(self, data: dict[str, Any]) -> None:
        if data["id"] == self._printed.get("id"):
            self._printed = {}
        lines = re.sub("\n{3,}", "\n\n", clean(data.get("output") or "")).strip("\n").split("\n")
        cut = 0 if self._verbose else max(0, len(lines) - FOLDED_LINES)
        if cut:
            self._print(Text(f"  ... {output.counted(cut, 'line')} before", "dim"))
        if any(line.strip() for line in lines):
            self._out.hanging(Text("  "), Text("\n".join(lines[cut:]), "dim"))
        if data.get("status") == "failed":
            self._print(Text("  failed", "red"))
        elif (data.get("durationMs") or 0) >= 1000:
            self._print(Text(f"  {output.duration(data['durationMs'] / 1000)}", "dim"))


def _retry(data: dict[str, Any]) -> str:
    why, seconds = data.get("message") or "The model call failed.", data["delayMs"] / 1000
    return f"{why} Trying again in {seconds:.0f} s (retry {data.get('attempt', 1)} of {MAX_RETRIES})."


def _of_call(data: dict[str, Any]) -> str:
    """What the model does, where that takes its time."""
    if data.get("state") == "waiting":
        return f"waiting for the model, {output.duration(data['waitedSeconds'])}"
    if data.get("state") == "answering":
        return f"the model answers, {output.number(data['receivedCharacters'])} characters"
    return ""


def _brief(given: Any) -> str:
    """The one argument that tells most, of the tools that Pi has; of another tool all of them."""
    if isinstance(given, dict):
        for name in ("path", "file_path", "pattern", "query", "url"):
            if isinstance(value := given.get(name), str):
                return value
    return "" if given is None else json.dumps(given, ensure_ascii=False)[:300]


def standing(task: schemas.Task) -> Text:
    """Its status as on the page: `incomplete` where it finished, but is incomplete by the agent's own word."""
    return output.status("incomplete" if of_task(task.status, task.metadata) is Exit.TASK_INCOMPLETE else task.status)


def usage(task: schemas.Task) -> str:
    """`3 calls, 1.2k tokens in, 300 out, $0.0033`: what the model's provider takes."""
    used = task.token_usage
    read = used.input_tokens + used.cache_read_tokens + used.cache_write_tokens
    tokens = f"{output.number(read)} tokens in, {output.number(used.output_tokens)} out"
    words = f"{output.counted(used.calls, 'call')}, {tokens}"
    return words if task.execution.model == "scripted" else f"{words}, {shown(used.cost_usd)}"


def summary(task: schemas.Task) -> str:
    used = task.container_minutes * 60
    return f"{output.duration(used)} in the container ({shown(task.cost_usd)}), {usage(task)}"
