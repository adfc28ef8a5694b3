"""Text that differs from run to run and is not compared in a replay: ids, dates, durations, temporary files.

The agent's user also differs in each run.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
ZONE = r"(?:\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?"
DAY_FIRST = rf"\d{{1,2}}[ /-](?:{MONTHS})[a-z]*[ /-]\d{{4}}"
MONTH_FIRST = rf"(?:{MONTHS})[a-z]* +\d{{1,2}}(?:,? \d{{4}}\b)?"
DATE = rf"(?:\d{{4}}[-/]\d\d[-/]\d\d|{DAY_FIRST}|{MONTH_FIRST})"

# The order matters: each rule sees the text after the rules before it.
RULES = tuple(
    (re.compile(pattern), mark)
    for pattern, mark in (
        (r"(?m)^([bcdlps-][rwxsStT-]{9}[.+@]?) +(\d+) +\S+ +\S+ +(\d+)", r"\1 \2 <owner> \3"),  # of `ls -l`
        (r"\b(uid|gid|groups)=\d+(?:\([\w-]+\))?(?:,\d+(?:\([\w-]+\))?)*", r"\1=<owner>"),  # of `id`
        (r"\b(?:tsk|run|msg|fil|agt|ctr|ver|upl)_[0-9a-z]{25}\b", "<id>"),
        (r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", "<id>"),
        (rf"\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?{DATE}(?:[T ,:]+{CLOCK}{ZONE}(?: \d{{4}})?)?", "<time>"),
        (rf"\b{CLOCK}\b{ZONE}", "<time>"),
        # seconds since 1970, for the years 2017 to 2033
        (r"(?<![\d.])1[5-9]\d{8}(?:\.\d+|\d{3}|\d{6}|\d{9})?(?![\d.])", "<time>"),
        (r"\b(?:\d+h ?)?\d+m ?\d+(?:\.\d+)?s\b", "<duration>"),
        (r"(?<![\w.])\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|secs?|seconds?|mins?|minutes?)\b", "<duration>"),
        (r"\btmp[._-]?[A-Za-z0-9_]{6,16}(?![A-Za-z0-9_])", "<temporary>"),
        (r"(?<![0-9A-Za-z])(?=[0-9a-f]*[a-f])(?=[a-f]*\d)[0-9a-f]{7,40}(?![0-9A-Za-z])", "<id>"),
    )
)


def masked(text: str, ignored: Iterable[re.Pattern[str]] = ()) -> str:
    """The text with variable parts replaced. `ignored`: patterns from the recordings' owner."""
    for pattern in ignored:
        text = pattern.sub("<ignored>", text)
    for pattern, mark in RULES:
        text = pattern.sub(mark, text)
    return text


def masked_all(value: Any, ignored: Iterable[re.Pattern[str]] = ()) -> Any:
    """The JSON value with all texts masked."""
    match value:
        case str():
            return masked(value, ignored)
        case list():
            return [masked_all(one, ignored) for one in value]
        case dict():
            return {name: masked_all(one, ignored) for name, one in value.items()}
    return value


def alike(one: Any, other: Any, ignored: Sequence[re.Pattern[str]] = ()) -> bool:
    """Whether two JSON values are equal after masking. Only texts that differ are masked."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other or masked(one, ignored) == masked(other, ignored)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(alike(*pair, ignored) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name], ignored) for name in one)
    return type(one) is type(other) and bool(one == other)
