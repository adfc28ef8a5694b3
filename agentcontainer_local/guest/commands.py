"""What the guest is told to do: worked out from the rows, so that it is the same after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator

from sqlite_utils import Database
from starlette.requests import Request
from starlette.responses import StreamingResponse

from agentcontainer_local import lifecycle, messages, pi, tasks, workspace
from agentcontainer_local.db import Row
from agentcontainer_local.guest.door import Door

HEARTBEAT_SECONDS = 15


async def commands(request: Request) -> StreamingResponse:
    return StreamingResponse(_lines(request.scope["door"]), media_type="application/x-ndjson")


async def _lines(door: Door) -> AsyncIterator[bytes]:
    """Each command once a connection, for as long as the task is alive; the guest does each id once a life."""
    sent: set[str] = set()
    while True:
        changed = door.host.changed.mark()
        for command in in_force(door.host.db, door.task_id):
            if command["id"] not in sent:
                sent.add(command["id"])
                yield json.dumps(command).encode() + b"\n"
        _, waiting = await asyncio.wait({changed}, timeout=HEARTBEAT_SECONDS)
        if waiting:
            yield b"\n"


def in_force(db: Database, task_id: str) -> list[dict]:
    """Every command that the task's open run should have had by now, oldest first."""
    task, run = tasks.get(db, task_id), tasks.open_run(db, task_id)
    if run is None or task["status"] not in (lifecycle.PENDING, lifecycle.RUNNING):
        return []
    inputs = [item.command() for item in workspace.inputs(db, task)]
    prompts = [*_told(task, run), *(_given(task, message) for message in messages.for_run(db, task, run))]
    if not prompts and run["opened_at"] is None:
        prompts = [_prompt(run["id"], pi.RESUME)]
    nudges = [_prompt(f"nudge-{n}", pi.NUDGE) for n in range(1, run["nudges"] + 1)]
    soft = {"type": "steer", "id": f"soft-{task['turn_number']}", "message": pi.WRAP_UP}
    wrap_up = [soft] if run["soft_told_at"] else []
    return [*({**prompt, "inputs": inputs} for prompt in (*prompts, *nudges)), *wrap_up]


def _told(task: Row, run: Row) -> list[dict]:
    return [_prompt(f"tell-{run['id']}", pi.TELL[task["to_tell"]])] if task["to_tell"] in pi.TELL else []


def _given(task: Row, message: Row) -> dict:
    """A message of the user's; an autonomous task's first one is the task itself."""
    if task["mode"] == "autonomous" and message["content"] == task["instructions"]:
        return _prompt(message["id"], message["content"] + pi.FOOTER, pi.RESUME)
    woken = pi.WOKEN_BY_MESSAGE if task["to_tell"] == "message" and message["delivered_at"] is None else ""
    return _prompt(message["id"], woken + message["content"], pi.RESUME)


def _prompt(id: str, message: str, resume: str | None = None) -> dict:
    """`resume` is said instead where Pi's session ends with `message` already."""
    return {"type": "prompt", "id": id, "message": message, "resume": resume}
