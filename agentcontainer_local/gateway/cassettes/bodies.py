"""Request bodies as they are recorded: cleaned, and as changes of an earlier body."""

import hashlib
import re
from typing import Any

from agentcontainer_local.gateway.cassettes.document import Change, Request
from agentcontainer_local.gateway.cassettes.secrets import Secrets

LISTS = ("messages", "input")  # fields that grow from call to call
BLOB = re.compile(r"(?:data:[\w.+-]+/[\w.+-]+;base64,)?[A-Za-z0-9+/_-]{512,}={0,2}")


def shown(value: Any, secrets: Secrets, task_id: str) -> Any:
    """The body without secrets and without the task's id. Images and other base64 data are replaced by a digest."""
    match value:
        case str():
            if BLOB.fullmatch(value):
                return f"<base64: {len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()}>"
            return secrets.hidden(value.replace(task_id, "<task>") if task_id else value)
        case list():
            return [shown(one, secrets, task_id) for one in value]
        case dict():
            return {secrets.hidden(name): shown(one, secrets, task_id) for name, one in value.items()}
    return value


def change(of_call: int, before: dict[str, Any], now: dict[str, Any]) -> Change | None:
    """The change from one body to the next. None if they have no message in common."""
    name = next((name for name in LISTS if isinstance(before.get(name), list)), None)
    if name is None or not isinstance(now.get(name), list):
        return None
    old, new = before[name], now[name]
    keep = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    if keep == 0:
        return None
    others = {key: value for key, value in now.items() if key != name and (key not in before or before[key] != value)}
    return Change(
        of_call=of_call, keep=keep, add=new[keep:], set=others, drop=[key for key in before if key not in now]
    )


def whole(requests: list[Request]) -> list[dict[str, Any]]:
    """All bodies in full."""
    bodies: list[dict[str, Any]] = []
    for request in requests:
        bodies.append(_changed(bodies, request.change) if request.change else request.body or {})
    return bodies


def _changed(bodies: list[dict[str, Any]], given: Change) -> dict[str, Any]:
    before = bodies[given.of_call - 1]
    name = next((name for name in LISTS if isinstance(before.get(name), list)), LISTS[0])
    kept = {key: value for key, value in before.items() if key not in given.drop}
    return {**kept, **given.set, name: [*before.get(name, [])[: given.keep], *given.add]}
