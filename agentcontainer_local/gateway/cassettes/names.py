"""The file name of a task's recording: given by `metadata.cassette`, else made from its instructions."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from agentcontainer_local.gateway.cassettes.document import About
from agentcontainer_local.gateway.cassettes.volatile import masked
from agentcontainer_local.store import tasks
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import row, single

FIELD = "cassette"  # of a task's metadata
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
SUFFIX = ".yaml"
SLUG_CHARACTERS = 40


class BadName(Exception):
    """`metadata.cassette` is not a valid file name."""


@dataclass(frozen=True)
class Named:
    """`base`: shared by all tasks with the same instructions; the second task's file has the suffix `-2`."""

    base: str
    about: About

    def file(self, ordinal: int) -> str:
        return f"{self.base}{'' if ordinal == 1 else f'-{ordinal}'}{SUFFIX}"


def of(context: Context, task_id: str, hidden: Callable[[str], str]) -> Named:
    """The recording's name for this task. Raises BadName."""
    task = tasks.get(context.db, task_id)
    about = About(
        agent=single(context.db, "SELECT name FROM agents WHERE id = ?", (task["agent_id"],))["name"],
        mode=task["mode"],
        backend=context.settings.backend,
        provider=task["provider"],
        model=task["model"],
        instructions=hidden(task["instructions"]),
        message=hidden(_first_message(context, task_id)) if task["mode"] == "conversation" else None,
    )
    return Named(_chosen(json.loads(task["metadata"])) or _made(about), about)


def _first_message(context: Context, task_id: str) -> str:
    first = "SELECT content FROM messages WHERE task_id = ? AND role = 'user' ORDER BY number LIMIT 1"
    found = row(context.db, first, (task_id,))
    return found["content"] if found else ""


def _chosen(metadata: dict[str, object]) -> str | None:
    name = metadata.get(FIELD)
    if name is None:
        return None
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadName(
            f"metadata.{FIELD} is not a name for a recording: {json.dumps(name)[:120]}. Use 1 to 100 letters, digits,"
            " dots, hyphens and underscores, beginning with a letter or a digit."
        )
    return name.removesuffix(SUFFIX)


def _made(about: About) -> str:
    """The first words, and a hash of all instructions."""
    instructions, message = masked(about.instructions), masked(about.message or "")
    digest = hashlib.sha256(json.dumps([about.agent, about.mode, instructions, message]).encode()).hexdigest()[:8]
    first_line = re.sub(r"<\w+>", " ", (message or instructions).partition("\n")[0])
    words = re.findall(r"[a-z0-9]+", first_line.lower())
    slug = "-".join(words)[:SLUG_CHARACTERS].strip("-") or "task"
    return f"{slug}-{digest}"
