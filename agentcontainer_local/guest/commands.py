"""The commands for the guest. They are computed from the rows, so they are the same after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from agentcontainer_local.guest.door import Door
from agentcontainer_local.pi import prompts, workspace
from agentcontainer_local.pi.inputs import Input
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.rows import Message, Run, Task

HEARTBEAT_SECONDS = 15


async def commands(request: Request) -> StreamingResponse:
    return StreamingResponse(_lines(request.scope["door"]), media_type="application/x-ndjson")


async def _lines(door: Door) -> AsyncIterator[bytes]:
    """Sends each command once per connection, while the run is active. The guest executes each id once per start."""
    store, sent = door.host.db, set()
    with door.host.follower(door.task_id):
        while True:
            changed = door.host.changed.mark(door.task_id)
            for command in in_force(store, door.task_id):
                if command["id"] not in sent:
                    sent.add(command["id"])
                    if command["type"] == "prompt":
                        command["inputs"] = [item.command() for item in _inputs(store, door.task_id)]
                    failpoints.point("command.giving")
                    yield json.dumps(command).encode() + b"\n"
            _, waiting = await asyncio.wait({changed}, timeout=HEARTBEAT_SECONDS)
            if waiting:
                yield b"\n"


def _inputs(db: Database, task_id: str) -> list[Input]:
    return workspace.inputs(db, tasks.get(db, task_id))


def in_force(db: Database, task_id: str) -> list[dict[str, Any]]:
    """Every command that the task's open run should have by now, oldest first."""
    task, run = tasks.get(db, task_id), tasks.open_run(db, task_id)
    if run is None or not tasks.at_work(db, run["id"]) or not tasks.fits(task, run):
        return []
    given = [*_told(task, run), *(_given(db, task, message) for message in transcript.for_run(db, task, run))]
    if not given and run["opened_at"] is None:
        given = [_given(db, task, transcript.last_given(db, task))]
    nudges = [_prompt(f"nudge-{n}", prompts.NUDGE) for n in range(1, run["nudges"] + 1)]
    soft = {"type": "steer", "id": f"soft-{task['turn_number']}", "message": prompts.WRAP_UP}
    return [*given, *nudges, *([soft] if run["soft_told_at"] else []), *_of_budget(task, run)]


def _of_budget(task: Task, run: Run) -> list[dict[str, Any]]:
    """The messages about the budget, sent in the run in which it is nearly used up. Once asked to finish, the agent
    gets no warning."""
    told = (task["budget_told_at"] or "") >= run["created_at"] and not run["budget_asked_at"]
    soon = {"type": "steer", "id": "budget-told", "message": prompts.BUDGET_SOON[task["mode"]]}
    asked = _prompt("budget-asked", prompts.BUDGET_OUT[task["mode"]])
    return [*([soon] if told else []), *([asked] if run["budget_asked_at"] else [])]


def _told(task: Task, run: Run) -> list[dict[str, Any]]:
    return [_prompt(f"tell-{run['id']}", prompts.TELL[task["to_tell"]])] if task["to_tell"] in prompts.TELL else []


def _given(db: Database, task: Task, message: Message) -> dict[str, Any]:
    """A user's message. Its text must always be the same, because the guest compares it with Pi's session."""
    return _prompt(message["id"], _before(db, message) + message["content"] + _files(db, task, message), prompts.RESUME)


def _before(db: Database, message: Message) -> str:
    return "" if message["turn_number"] or transcript.is_first(db, message) else prompts.WOKEN_BY_MESSAGE


def _files(db: Database, task: Task, message: Message) -> str:
    """The text about files. An autonomous task's first message is the task itself; later messages can have files."""
    if message["turn_number"] is None and transcript.is_first(db, message):
        return prompts.FOOTER
    paths = workspace.paths_of(db, task, message)
    return prompts.WITH_FILES + "".join(f"\n~/{path}" for path in paths) if paths else ""


def _prompt(id: str, message: str, resume: str | None = None) -> dict[str, Any]:
    """A prompt. `resume`: the text if Pi's session already ends with `message`."""
    return {"type": "prompt", "id": id, "message": message, "resume": resume}
