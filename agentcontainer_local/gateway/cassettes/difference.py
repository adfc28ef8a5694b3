"""The difference between two requests, in a few lines for people."""

import difflib
import json
import os.path
from collections.abc import Iterator
from typing import Any

MAX_LINES = 30
MAX_LINE_CHARACTERS = 160
WINDOW_CHARACTERS = 120


def lines(recorded: Any, now: Any, at: str = "") -> list[str]:
    """The differences; empty if there are none. `-`: recorded, `+`: now."""
    found = list(_lines(recorded, now, at))
    if len(found) > MAX_LINES:
        found = [*found[:MAX_LINES], f"… and {len(found) - MAX_LINES} more lines"]
    return [line if len(line) <= MAX_LINE_CHARACTERS else f"{line[: MAX_LINE_CHARACTERS - 1]}…" for line in found]


def _lines(recorded: Any, now: Any, at: str) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*recorded, *now)):
            inner = f"{at}.{name}" if at else name
            if name not in now:
                yield from (f"{inner}:", f"  - {_brief(recorded[name])}")
            elif name not in recorded:
                yield from (f"{inner}:", f"  + {_brief(now[name])}")
            else:
                yield from _lines(recorded[name], now[name], inner)
    elif isinstance(recorded, list) and isinstance(now, list):
        for number, (one, other) in enumerate(zip(recorded, now, strict=False)):
            yield from _lines(one, other, f"{at}[{number}]")
        yield from _rest(at, "-", recorded, len(now))
        yield from _rest(at, "+", now, len(recorded))
    elif isinstance(recorded, str) and isinstance(now, str) and recorded != now:
        yield f"{at}:"
        yield from _of_texts(recorded, now)
    elif recorded != now or type(recorded) is not type(now):
        yield from (f"{at}:", f"  - {_brief(recorded)}", f"  + {_brief(now)}")


def _rest(at: str, sign: str, values: list[Any], begin: int) -> Iterator[str]:
    for number in range(begin, len(values)):
        yield from (f"{at}[{number}]:", f"  {sign} {_brief(values[number])}")


def _of_texts(recorded: str, now: str) -> Iterator[str]:
    compared = list(difflib.unified_diff(recorded.splitlines(), now.splitlines(), lineterm="", n=1))[3:]
    for before, line, after in zip(["", *compared], compared, [*compared[1:], ""], strict=False):
        other = after if line[0] == "-" else before
        replaced = {line[0], other[:1]} == {"-", "+"}
        yield "  …" if line.startswith("@@") else f"  {line[0]} {_window(line[1:], other[1:] if replaced else '')}"


def _window(line: str, other: str) -> str:
    """The part of a long line where the difference begins."""
    begin = len(os.path.commonprefix((line, other))) - WINDOW_CHARACTERS // 4
    return line if len(line) <= WINDOW_CHARACTERS or begin <= 0 else f"…{line[begin:]}"


def _brief(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
