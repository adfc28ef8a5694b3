"""Recordings as readable YAML: multi-line texts as blocks, no anchors, no tags."""

import re
from typing import Any

import yaml

SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WIDTH = 120

# A block can only have printable characters, and trailing blanks would be invisible.
NO_BLOCK = re.compile(
    r"[^\n\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|[ \t](?:\n|\Z)"
)


class Unreadable(Exception):
    """The text is not valid YAML. The message has the line and the reason."""


class _Dumper(SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _written(dumper: Any, text: str) -> Any:
    block = "\n" in text and text[0] not in " \t\n" and not NO_BLOCK.search(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _written)


def write(value: Any) -> str:
    """A part of a document, which others may follow. libyaml marks the document's end after a text with a trailing
    blank line."""
    written = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return str(written).removesuffix("...\n")


def read(text: str) -> Any:
    """Parses YAML. Raises Unreadable."""
    try:
        return yaml.load(text, Loader=SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise Unreadable(f"line {mark.line + 1}: {why}" if mark else str(why)) from None
