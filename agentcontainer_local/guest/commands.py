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
    nudges = [{"type": "prompt", "id": f"nudge-{n}", "message": pi.NUDGE, "resume": None, "inputs": []}
              for n in range(1, run["nudges"] + 1)]
    wrap_up = [{"type": "steer", "id": "soft", "message": pi.WRAP_UP}] if run["soft_told_at"] else []
    return [_first(db, task, run), *nudges, *wrap_up]


def _first(db: Database, task: Row, run: Row) -> dict:
    """The instructions; or, where an earlier run has given them to Pi, the request to go on."""
    message = messages.instructions(db, task["id"])
    inputs = [item.command() for item in workspace.inputs(db, task)]
    if message["delivered_at"] is not None and message["delivered_at"] < run["created_at"]:
        return {"type": "prompt", "id": run["id"], "message": pi.RESUME, "resume": None, "inputs": inputs}
    text = message["content"] + pi.FOOTER
    return {"type": "prompt", "id": message["id"], "message": text, "resume": pi.RESUME, "inputs": inputs}
