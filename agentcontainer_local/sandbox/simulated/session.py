"""The memory of a simulated agent between runs, like Pi's session file.

An entry is one of {user, id}: a prompt; {said, calls?}: the agent's text and tool calls; {result, call, failed}: a
tool's result; {input}: a fetched file; {step}: a played step of a script.
"""

import json
from pathlib import Path
from typing import Any

from agentcontainer_local.sandbox.simulated.model import ToolCall

UNKNOWN_RESULT = "No result provided"  # Pi's text for an interrupted call


class Session:
    """Each entry is written immediately. An incomplete last line is ignored."""

    def __init__(self, path: Path):
        self._path = path
        self._entries: list[dict[str, Any]] = []
        if path.exists():
            *lines, _ = path.read_bytes().split(b"\n")
            self._entries = [json.loads(line) for line in lines]
        for call_id in self._unanswered():
            self.answered(call_id, UNKNOWN_RESULT, failed=True)

    def heard(self, prompt_id: str, text: str) -> None:
        self._add(user=text, id=prompt_id)

    def said(self, text: str, *calls: ToolCall) -> None:
        made = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]
        self._add(said=text, **({"calls": made} if made else {}))

    def answered(self, call_id: str, text: str, failed: bool) -> None:
        self._add(result=text, call=call_id, failed=failed)

    def fetched(self, path: str) -> None:
        self._add(input=path)

    def played(self, script: str) -> None:
        self._add(step=script)

    def knows(self, prompt_id: str) -> bool:
        return any(entry.get("id") == prompt_id for entry in self._entries)

    def has_input(self, path: str) -> bool:
        return any(entry.get("input") == path for entry in self._entries)

    def steps(self, script: str) -> int:
        """The number of steps played."""
        return sum(entry.get("step") == script for entry in self._entries)

    def history(self) -> list[dict[str, Any]]:
        """The entries for the model."""
        return [entry for entry in self._entries if not entry.keys() & {"input", "step"}]

    def new_call_id(self) -> str:
        return f"call_{len(self._entries)}"

    def _unanswered(self) -> list[str]:
        answered = {entry["call"] for entry in self._entries if "result" in entry}
        return [call["id"] for entry in self._entries for call in entry.get("calls", ()) if call["id"] not in answered]

    def _add(self, **entry: Any) -> None:
        self._entries.append(entry)
        with self._path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
