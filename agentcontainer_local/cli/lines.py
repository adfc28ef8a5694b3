"""Output of a command line by line, for commands that must start quickly: rich takes a tenth of a server's start."""

import contextlib
import json
import re
import sys
from typing import Any

from pydantic import BaseModel

from agentcontainer_local.process.text import HOSTILE


class Lines:
    def __init__(self, as_json: bool = False):
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def line(self, value: Any) -> None:
        """One JSON document of many, a line each."""
        print(HOSTILE.sub(escaped, json.dumps(plain(value), ensure_ascii=False)), flush=True)

    def note(self, text: str, style: str = "") -> None:
        """A line beside the result: nothing is lost where stderr cannot be written."""
        from agentcontainer_local.cli.output import Output

        Output(self.as_json).note(text, style)

    def note_json(self, value: Any) -> None:
        """One JSON document beside it."""
        with contextlib.suppress(OSError):
            print(HOSTILE.sub(escaped, json.dumps(plain(value), ensure_ascii=False)), file=sys.stderr, flush=True)


def escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def plain(value: Any) -> Any:
    """What json.dumps takes, with the names that the wire has."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
