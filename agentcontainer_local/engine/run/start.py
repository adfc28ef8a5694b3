"""Starts a task's run: prepares the image, writes Pi's launch document, and updates the rows."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.limits import wanted
from agentcontainer_local.pi import launch as pi
from agentcontainer_local.pi import workspace
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox.backend import Found, Guest, Handle, ImageChoice, RunSpec, Start
from agentcontainer_local.sandbox.errors import ImageMissing
from agentcontainer_local.store import agents, containers, events, tasks
from agentcontainer_local.store.rows import Run, Task


async def start(stack: AsyncExitStack, host: Host, record: Run, guest: Guest, found: Found | None) -> Handle | None:
    """Starts the run, or adopts the live one that was `found`. It is served while `stack` is open.

    None if the task was ended meanwhile.
    """
    spec = _spec(host, record)
    if found is not None:
        return await stack.enter_async_context(host.backend.running(spec, guest, found))
    for tried_before in (False, True):
        if not await _prepared(host, spec):
            return None
        failpoints.point("image.there")
        try:
            return await stack.enter_async_context(host.backend.running(spec, guest))
        except ImageMissing:  # it was removed since `prepare`
            if tried_before:
                raise
    return None


def _spec(host: Host, record: Run) -> RunSpec:
    task = tasks.get(host.db, record["task_id"])
    most = wanted(host.settings, host.db, task)
    return RunSpec(
        task_id=task["id"],
        run_id=record["id"],
        number=record["number"],
        image=_image(host, task),
        launch=lambda env: _launch(host, record, env),
        limits=most.limits,
        isolation=most.isolation,
        internet=bool(task["internet_access"]),
        first=tasks.is_first_run(host.db, record),
    )


def _image(host: Host, task: Task) -> ImageChoice:
    version = containers.version(host.db, task["container_version_id"])
    return ImageChoice(version["preset"], version["image"], tuple(json.loads(version["writable_paths"])))


async def _prepared(host: Host, spec: RunSpec) -> bool:
    """Waits for the image. False if the task ends first; other tasks may still wait for the same image."""
    with host.preparing.waiting(spec.task_id):
        preparing = asyncio.ensure_future(
            host.backend.prepare(spec.image, lambda words: say(host, spec.task_id, words))
        )
        try:
            while not preparing.done():
                changed = host.changed.mark(spec.task_id)
                if tasks.get(host.db, spec.task_id)["status"] in lifecycle.TERMINAL:
                    return False
                await asyncio.wait({preparing, changed}, return_when=asyncio.FIRST_COMPLETED)
            await preparing
            return True
        finally:
            preparing.cancel()
            await asyncio.wait({preparing})


def say(host: Host, task_id: str, words: str) -> None:
    """Passes progress of the image on to the viewers of a waiting task."""
    host.preparing.says(task_id, words)
    if tasks.get(host.db, task_id)["status"] == lifecycle.PENDING:
        events.append(host.db, task_id, events.NOTICE, {"kind": "preparing", "message": words}, host.now())


def _launch(host: Host, record: Run, env: Mapping[str, str]) -> bytes:
    """The launch document, for the task as it is now. `env`: the image's environment variables."""
    with host.db.atomic():
        task = tasks.get(host.db, record["task_id"])
        execution = tasks.execution(host.context, task)
        sealed = host.vault.seal(execution.api_key) if execution.api_key else None
        tasks.runs.launched(host.db, record["id"], task, execution.base_url, sealed)
    version = agents.version(host.db, task["agent_id"], task["agent_version_id"])
    harness = workspace.document(host.db, task, "HARNESS.md") or ""
    skills = [skill["skill"] for skill in (*json.loads(version["skills"]), *json.loads(task["skills"]))]
    launch = pi.launch(task, execution, version["base_prompt"], harness, host.catalog, list(dict.fromkeys(skills)), env)
    return json.dumps(launch).encode()


def started(host: Host, record: Run, handle: Handle) -> None:
    failpoints.point("container.started")
    task_id = record["task_id"]
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        if handle.enforced is not None and handle.image is not None:
            tasks.runs.got_container(host.db, record["id"], handle.image, json.dumps(handle.enforced))
        if handle.start is Start.REMADE and task["has_container"]:
            what = "The container was made anew: workspace and session are kept, what was installed elsewhere is gone."
            events.append(host.db, task_id, events.NOTICE, {"kind": "new_container", "message": what}, host.now())
        tasks.runs.started(host.db, record["id"], host.now())
        host.db.conn.execute("UPDATE tasks SET has_container = 1 WHERE id = ?", (task_id,))
        if task["status"] == lifecycle.PENDING:
            tasks.apply(host.db, task_id, "started", host.now())
