"""Reads the history from a request in any wire format, or from Pi's text to summarise."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agentcontainer_local.gateway.routes import Dialect

CALL_ID = "call_scripted_"
FAILED = re.compile(r"Command exited with code -?\d+\s*$|Command terminated without an exit code\s*$")
UNKNOWN = re.compile(r"No result provided\s*$|Command aborted\s*$|Command timed out after .*$")

SECTION = re.compile(r"^\[(User|Assistant|Assistant tool calls|Tool result)\]: ", re.MULTILINE)
# Other arguments may precede the command, but no other call, because that would make the search quadratic.
SERIALIZED_CALL = re.compile(r'bash\((?:[^("\n]{0,80}, )?command=("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True)
class User:
    text: str


@dataclass(frozen=True)
class Said:
    """Text of the assistant. `commands`: of its bash calls that this model made, not those of another model."""

    text: str
    calls: int = 0
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    text: str
    failed: bool

    @property
    def unknown(self) -> bool:
        """Whether the call was interrupted, so that its effect is unknown."""
        return bool(UNKNOWN.search(self.text))


Item = User | Said | Result


def read(dialect: Dialect, body: dict[str, Any]) -> list[Item]:
    """The history in a request. Never raises: parts with an unexpected shape are ignored."""
    if dialect == "responses":
        given = body.get("input")
        rows = [{"role": "user", "content": given}] if isinstance(given, str) else _dicts(given)
        return list(_joined(_responses(rows)))
    return list((_messages if dialect != "completions" else _completions)(_dicts(body.get("messages"))))


def _messages(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        parts = _parts(row.get("content"))
        if row.get("role") == "assistant":
            calls = [part for part in parts if part.get("type") == "tool_use"]
            yield Said(_text(parts), len(calls), _commands((call.get("id"), call.get("input")) for call in calls))
        elif row.get("role") == "user":
            for part in parts:
                if part.get("type") == "tool_result":
                    yield _result(_text(_parts(part.get("content"))), bool(part.get("is_error")))
            if text := _text(parts):
                yield User(text)


def _completions(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        text = _text(_parts(row.get("content")))
        if row.get("role") == "assistant":
            calls = _dicts(row.get("tool_calls"))
            functions = [(call.get("id"), _dict(call.get("function")).get("arguments")) for call in calls]
            yield Said(text, len(calls), _commands(functions))
        elif row.get("role") == "tool":
            yield _result(text)
        elif row.get("role") == "user":
            yield User(text)


def _responses(rows: list[dict[str, Any]]) -> Iterator[Item]:
    for row in rows:
        if row.get("type") == "function_call":
            yield Said("", 1, _commands([(row.get("call_id"), row.get("arguments"))]))
        elif row.get("type") == "function_call_output":
            yield _result(_text(_parts(row.get("output"))))
        elif row.get("role") == "assistant":
            yield Said(_text(_parts(row.get("content"))))
        elif row.get("role") == "user":
            yield User(_text(_parts(row.get("content"))))


def _joined(items: Iterable[Item]) -> Iterator[Item]:
    """Joins the assistant's text and calls, which are separate rows in this format."""
    last: Item | None = None
    for item in items:
        if isinstance(last, Said) and isinstance(item, Said):
            last = Said(last.text + item.text, last.calls + item.calls, last.commands + item.commands)
            continue
        if last is not None:
            yield last
        last = item
    if last is not None:
        yield last


def serialized(text: str) -> list[Item]:
    """The history in the form that Pi writes for a summary. Its calls have no ids."""
    heads = list(SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return list(
        _joined(_section(head[1], text[head.end() : end].rstrip("\n")) for head, end in zip(heads, ends, strict=True))
    )


def _section(kind: str, text: str) -> Item:
    if kind == "User":
        return User(text)
    if kind == "Tool result":
        return _result(text)
    if kind == "Assistant":
        return Said(text)
    return Said("", 1, tuple(json.loads(command) for command in SERIALIZED_CALL.findall(text)))


def _commands(calls: Iterable[tuple[Any, Any]]) -> tuple[str, ...]:
    ours = [_arguments(given) for id, given in calls if isinstance(id, str) and id.startswith(CALL_ID)]
    return tuple(str(arguments.get("command", "")) for arguments in ours)


def _arguments(given: Any) -> dict[str, Any]:
    try:
        return _dict(json.loads(given) if isinstance(given, str) else given)
    except ValueError:
        return {}


def _result(text: str, failed: bool = False) -> Result:
    """A tool's result. Only Anthropic's format has a flag for failures; in the others Pi's text shows them."""
    return Result(text, failed or bool(FAILED.search(text) or UNKNOWN.search(text)))


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else _dicts(content)


def _text(parts: list[dict[str, Any]]) -> str:
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
