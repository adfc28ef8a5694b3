"""Cleans text from agents and files, before it is shown on a terminal or becomes a file name."""

import re

# Controls but tab and newline, and what turns the direction of writing.
HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Text that cannot move the cursor, colour the screen or turn its direction; tabs and newlines stay."""
    return HOSTILE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def without_password(address: str) -> str:
    """An address may hold a user's name and password before its last `@`, and a key in its query."""
    named = re.sub("(?<=://)[^/?#]*@", "(secret)@", address)
    return re.sub(r"(://[^?#]*)\?[^#]+", r"\1?(secret)", named)
