"""Output of the command: rich in a terminal, plain in a pipe, or JSON. Markup in agents' text has no effect.

An agent's words, file names and outputs may hold terminal escapes or markup: all text passes through `clean`, and
markup is off.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from agentcontainer_local.cli.lines import Lines, escaped, plain
from agentcontainer_local.process.text import HOSTILE, clean, one_line

STYLES = {
    "pending": "yellow",
    "running": "cyan",
    "awaiting_input": "magenta",
    "hibernating": "blue",
    "finished": "green",
    "incomplete": "yellow",
    "failed": "red",
    "cancelled": "dim",
    "expired": "dim",
}
UNITS = ("B", "kB", "MB", "GB", "TB")
ANY_WIDTH = 10_000
MIN_COLUMN_WIDTH = 10


class Output(Lines):
    """`out` is for results, `err` for everything that is said beside them."""

    def __init__(self, as_json: bool = False):
        super().__init__(as_json)
        self.out = _console(sys.stdout)
        self.err = _console(sys.stderr)

    @property
    def rich(self) -> bool:
        return self.out.is_terminal and not self.as_json

    def json(self, value: Any) -> None:
        """One JSON document: laid out for reading on a terminal, on a line of its own elsewhere."""
        text = json.dumps(plain(value), ensure_ascii=False, indent=2 if self.out.is_terminal else None)
        print("\n".join(HOSTILE.sub(escaped, line) for line in text.split("\n")))

    def done(self, text: str, shape: Any) -> None:
        """What a command has done: in words, or as JSON."""
        self.json(shape) if self.as_json else self.say(text)

    def say(self, text: str | Text, style: str = "") -> None:
        """A line of the result."""
        self.out.print(Text(clean(text), style) if isinstance(text, str) else text)

    def note(self, text: str | Text, style: str = "") -> None:
        """A line beside it: nothing is lost where stderr cannot be written."""
        with contextlib.suppress(OSError):
            self.err.print(Text(clean(text), style) if isinstance(text, str) else text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], shapes: Any, empty: str = "") -> None:
        """Rows of text, or with --json the shapes they were made of. On a terminal, a column named `name~` is cut."""
        if self.as_json:
            self.json(shapes)
            return
        cells = [[cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in row] for row in rows]
        if not cells:
            self.note(empty, "dim")
            return
        head = [Text(column.rstrip("~").upper(), "bold") for column in columns]
        widths = [max(row[at].cell_len for row in (head, *cells)) for at in range(len(columns))]
        for at in (at for at, column in enumerate(columns) if column.endswith("~")):
            others = sum(widths) - widths[at] + 2 * (len(widths) - 1)
            widths[at] = max(MIN_COLUMN_WIDTH, min(widths[at], self.out.width - others))
        for row in (head, *cells):
            self.out.print(_row(row, widths), soft_wrap=True)

    def facts(self, facts: dict[str, str | Text | None], shape: Any) -> None:
        """What is known of one thing, a line each; None is left out."""
        if self.as_json:
            self.json(shape)
            return
        width = max(len(name) for name in facts) + 2
        for name, value in facts.items():
            if value is not None and str(value) != "":
                shown = value if isinstance(value, Text) else Text(clean(value))
                self.hanging(Text(name.ljust(width), "bold"), shown)

    def hanging(self, head: Text, text: Text) -> None:
        """`text` beside `head`: what goes over the line, and lines of its own, begin below its beginning."""
        if not self.out.is_terminal:
            indented = Text("\n" + " " * len(head)).join(text.split("\n", allow_blank=True))
            self.out.print(Text.assemble(head, indented))
            return
        grid = Table.grid(padding=0)
        grid.add_column(width=len(head), no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(head, text)
        self.out.print(grid)

    @contextlib.contextmanager
    def transfer(self, what: str, size: int | None = None) -> Iterator[Any]:
        """A progress callback for bytes, (so far, in all): a bar on a terminal, nothing elsewhere."""
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as progress:
            bar = progress.add_task(one_line(what)[:30], total=size)
            yield lambda done, size: progress.update(bar, completed=done, total=size)

    @contextlib.contextmanager
    def steps(self, what: str) -> Iterator[Any]:
        """A callback `(words, done, of)` for work in steps: a bar on a terminal, a line for each step elsewhere."""
        if not self.err.is_terminal:
            yield lambda words, done=None, of=None: self.note(words)
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TaskProgressColumn())
        with Progress(*columns, console=self.err, transient=True) as progress:
            bar = progress.add_task(what, total=None)

            def step(words: str, done: int | None = None, of: int | None = None) -> None:
                progress.update(bar, description=one_line(words)[: max(20, self.err.width - 40)])
                if of:
                    progress.update(bar, completed=done, total=of)

            yield step


def _console(stream: TextIO) -> Console:
    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console = Console(file=stream, markup=False, highlight=False, emoji=False, width=ANY_WIDTH, soft_wrap=True)
    return console


def _row(cells: Sequence[Text], widths: list[int]) -> Text:
    """The last cell is not filled up, so that no line ends in spaces."""
    row = Text()
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        cell = cell.copy()
        cell.truncate(width, overflow="ellipsis", pad=at < len(widths) - 1)
        row.append_text(cell).append("  " if at < len(widths) - 1 else "")
    row.rstrip()
    return row


def status(of: str) -> Text:
    return Text(of, STYLES.get(of, ""))


def size(count: int) -> str:
    """`13.2 kB`"""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{count} B"
    return f"{value:.1f} {UNITS[unit]}" if value < 99.95 else f"{value:.0f} {UNITS[unit]}"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def number(count: int) -> str:
    """`950`, `1.2k`, `3.4M`"""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 999_950 else f"{count / 1e6:.1f}M"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`"""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for length, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            rest = whole % length // smaller
            return f"{whole // length} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{whole} s"


def age(at: str | None) -> str:
    """How long ago, in its largest unit."""
    if at is None:
        return ""
    seconds = max(0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def between(began: str, ended: str | None) -> str:
    """How long it took; nothing where its end is not known."""
    if ended is None:
        return ""
    return duration((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
