"""Cleans text from agents and files before it is shown on a terminal or used as a file name."""

import re

# Control characters except tab and newline, and characters that change the direction of text.
HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Replaces characters that could control a terminal or change the direction. Keeps tabs and newlines."""
    return HOSTILE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def without_password(address: str) -> str:
    """Hides the user name and password before the last `@` of an address, and its query, which may have a key."""
    named = re.sub("(?<=://)[^/?#]*@", "(secret)@", address)
    return re.sub(r"(://[^?#]*)\?[^#]+", r"\1?(secret)", named)
