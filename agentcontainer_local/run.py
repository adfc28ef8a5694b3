"""One run of one task: from its pending row to a container that is gone, or kept for later."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from agentcontainer_local import agents, history, images, lifecycle, pi, runtime, sandbox, tasks, workspace
from agentcontainer_local.db import Row, iso, row
from agentcontainer_local.errors import Problem
from agentcontainer_local.host import Host

log = logging.getLogger(__name__)

OpenDoor = Callable[[Row, Path], AbstractAsyncContextManager[None]]     # a run and its directory → the socket is served

MOST_NUDGES = 2
KEPT = (lifecycle.HIBERNATING, lifecycle.AWAITING_INPUT)     # at rest: the container is stopped and kept
FIRST_UID, UIDS = 20_000, 40_000    # one of its own for each task, within the 65,536 that an account has


async def run(host: Host, task_id: str, open_door: OpenDoor, alive: sandbox.Found | None = None) -> None:
    """Runs the task until its row says that it no longer should; `alive` is its container, if one is running already.

    Cancelled (the server ends), it lets go and leaves everything as it is, for the next server to take up.
    """
    record = tasks.begin_run(host.db, task_id, host.now())
    try:
        directory = _directory(host, task_id)
        async with open_door(record, directory):
            pid = alive.pid if alive else await _start(host, task_id, record, directory)
            if pid is not None:
                _started(host, task_id, record["id"])
                await _follow(host, task_id, pid)
    except (sandbox.SandboxError, Problem) as error:
        _fail(host, task_id, str(error))
    except Exception:
        log.exception("run failed task=%s", task_id)
        _fail(host, task_id, "Internal error; the server's log says more.")
    await clear_away(host, task_id)


async def _start(host: Host, task_id: str, record: Row, directory: Path) -> int | None:
    """Starts the task's container and answers its first process; None if the task was ended meanwhile."""
    task = tasks.get(host.db, task_id)
    image = await _unless_ended(host, task_id, _image(host, task))
    if image is None:
        return None
    _write_launch(host, task, directory)
    uid = FIRST_UID + task["number"] % UIDS
    runtime.allow_uid(host.runtime, uid)
    if await host.sandbox.inspect(name_of(task_id)) is None:
        _note_what_is_lost(host, task_id, record)
        await asyncio.gather(*(host.sandbox.create_volume(name, _labels(task_id), uid) for name in volumes_of(task_id)))
        created = await host.sandbox.create(_spec(host, task, image, uid, directory))
        _note_walls(host, record, image, created)
    return await host.sandbox.start(name_of(task_id))


async def _unless_ended(host: Host, task_id: str, work) -> str | None:
    """What `work` answers; None if the task ends first (the work, shared with other tasks, goes on)."""
    working = asyncio.ensure_future(work)
    while not working.done():
        changed = host.changed.mark()
        if tasks.get(host.db, task_id)["status"] in lifecycle.TERMINAL:
            working.add_done_callback(lambda done: done.cancelled() or done.exception())
            return None
        await asyncio.wait({working, changed}, return_when=asyncio.FIRST_COMPLETED)
    return working.result()


async def _image(host: Host, task: Row) -> str:
    version = row(host.db, "SELECT preset, image FROM container_versions WHERE id = ?", (task["container_version_id"],))
    if version["preset"] is not None:
        return await images.ensure(host.sandbox, images.BY_PRESET[version["preset"]], log.info)
    if await host.sandbox.image_id(version["image"]) is None:
        try:
            await host.sandbox.pull(version["image"], log.info)
        except sandbox.SandboxError as error:
            raise sandbox.SandboxError(f"The image {version['image']} can't be had: {error}") from None
    return version["image"]


def _spec(host: Host, task: Row, image: str, uid: int, directory: Path) -> sandbox.ContainerSpec:
    work, state = volumes_of(task["id"])
    return sandbox.ContainerSpec(
        name=name_of(task["id"]),
        image=image,
        command=(f"{pi.MOUNT}/libexec/node", f"{pi.MOUNT}/guest/daemon.mjs"),
        uid=uid,
        env={"HOME": "/workspace", "NODE_OPTIONS": ""},   # an image's own would reach the daemon and Pi
        labels=_labels(task["id"]),
        workdir="/workspace",
        binds=(sandbox.Bind(str(host.runtime), pi.MOUNT), sandbox.Bind(str(directory), "/run/agentcontainer")),
        volumes=(sandbox.Mounted(work, "/workspace"), sandbox.Mounted(state, pi.STATE)),
        network="internet" if task["internet_access"] else "none",
        hostname="agent",
    )


def _write_launch(host: Host, task: Row, directory: Path) -> None:
    execution = tasks.execution(host.db, host.vault, task, host.environ)
    version = agents.version(host.db, task["agent_id"], task["agent_version_id"])
    harness = next(item.text for item in workspace.inputs(host.db, task) if item.name == "HARNESS.md")
    launch = pi.launch(task, execution, version["base_prompt"], harness, host.catalog)
    (directory / "launch.json").write_text(json.dumps(launch))


def _note_walls(host: Host, record: Row, image: str, created: sandbox.Created) -> None:
    """What Podman warned of is kept with the run: it may mean that a limit is not in force on this machine."""
    for warning in created.warnings:
        log.debug("podman warned run=%s: %s", record["id"], warning)
    host.db.conn.execute(
        "UPDATE runs SET image = ?, container_id = ?, walls = ? WHERE id = ?",
        (image, created.id, json.dumps({"warnings": created.warnings}), record["id"]),
    )


def _note_what_is_lost(host: Host, task_id: str, record: Row) -> None:
    """A container of an earlier run would have been kept: what was installed in it is gone with it."""
    earlier = row(host.db, "SELECT count(*) AS n FROM runs WHERE task_id = ? AND started_at IS NOT NULL AND id <> ?",
                  (task_id, record["id"]))
    if earlier["n"]:
        what = "The container was made anew: workspace and session are kept, what was installed elsewhere is gone."
        lost = {"kind": "new_container", "message": what}
        history.append(host.db, task_id, history.NOTICE, lost, host.now())


def _started(host: Host, task_id: str, run_id: str) -> None:
    with host.db.atomic():
        now = iso(host.now())
        host.db.conn.execute("UPDATE runs SET started_at = coalesce(started_at, ?) WHERE id = ?", (now, run_id))
        if tasks.get(host.db, task_id)["status"] == lifecycle.PENDING:
            tasks.apply(host.db, task_id, "started", host.now())
    host.changed.set()


async def _follow(host: Host, task_id: str, pid: int) -> None:
    """Acts on what the rows say, until the task is at rest or over, or its container has ended."""
    exited = asyncio.ensure_future(host.sandbox.exited(pid))
    clock = _Clock(host)
    try:
        while True:
            changed = host.changed.mark()
            task = tasks.get(host.db, task_id)
            if exited.done():
                return await died(host, task_id) if task["status"] == lifecycle.RUNNING else None
            if task["status"] == lifecycle.RUNNING:
                used_seconds = clock.used_seconds(task)
                if used_seconds >= task["max_runtime_seconds"]:
                    return _out_of_time(host, task)
                if _judge(host, task, used_seconds):
                    continue
                wait = _next_deadline(host, task) - used_seconds
            elif task["status"] == lifecycle.AWAITING_INPUT and not host.crowded:
                if (wait := host.settings.idle_seconds - clock.idle_seconds(task)) <= 0:
                    return None
            else:
                return None
            await asyncio.wait({changed, exited}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    finally:
        exited.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await exited


class _Clock:
    """How long the turn has run, or has been over: counted by a clock that nobody sets, from where the rows begin."""

    def __init__(self, host: Host):
        self.host = host
        self.since: tuple | None = None
        self.began = self.before = 0.0

    def used_seconds(self, task: Row) -> float:
        state = (task["status"], task["running_since"], task["turn_used_ms"])
        if self.since != state:
            self.since, self.began = state, time.monotonic()
            self.before = (tasks.container_ms(task, self.host.now()) - task["turn_used_ms"]) / 1000
        return self.before + time.monotonic() - self.began

    def idle_seconds(self, task: Row) -> float:
        state = (task["status"], task["turn_number"])
        if self.since != state:
            self.since, self.began = state, time.monotonic()
        return time.monotonic() - self.began


def _judge(host: Host, task: Row, used_seconds: float) -> bool:
    """Does what is due for a running task, one thing at a time; answers whether it did something."""
    run = tasks.open_run(host.db, task["id"])
    if run["settled_at"] is not None:
        _after_settling(host, task, run)
    elif _soft_is_due(task, run, used_seconds):
        host.db.conn.execute("UPDATE runs SET soft_told_at = ? WHERE id = ?", (iso(host.now()), run["id"]))
    else:
        return False
    host.changed.set()
    return True


def _out_of_time(host: Host, task: Row) -> None:
    limit = f"{task['max_runtime_seconds']} seconds, its maxRuntimeSeconds"
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], f"The turn ran for {limit}, without an answer.", host.now())
    else:
        error = f"The task ran for {limit}, without finishing."
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)


def _after_settling(host: Host, task: Row, run: Row) -> None:
    """Pi has nothing more to do, and `finish` was not accepted; of a conversation it is the answer."""
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], run["settled_error"], host.now())
    elif run["settled_error"] is not None:
        tasks.apply(host.db, task["id"], "failed", host.now(), error=run["settled_error"])
    elif run["nudges"] >= MOST_NUDGES:
        error = f"The agent stopped without calling finish, and did so again after it was told {MOST_NUDGES} times."
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)
    else:
        host.db.conn.execute("UPDATE runs SET nudges = nudges + 1, settled_at = NULL WHERE id = ?", (run["id"],))


def _soft_is_due(task: Row, run: Row, used_seconds: float) -> bool:
    soft = task["soft_finish_after_seconds"]
    return soft is not None and run["soft_told_at"] is None and used_seconds >= soft


def _next_deadline(host: Host, task: Row) -> float:
    """In seconds of container time."""
    run, soft = tasks.open_run(host.db, task["id"]), task["soft_finish_after_seconds"]
    return soft if soft is not None and run["soft_told_at"] is None else task["max_runtime_seconds"]


async def died(host: Host, task_id: str) -> None:
    """The container ended by itself, or was killed by somebody else."""
    run = tasks.open_run(host.db, task_id)
    words = run["last_words"] or await host.sandbox.logs_tail(name_of(task_id), 4096)
    with contextlib.suppress(lifecycle.IllegalMove):
        tasks.died(host.db, task_id, host.now(), last_words=words.strip() or "(it left none)")
    host.changed.set()


def _fail(host: Host, task_id: str, error: str) -> None:
    with contextlib.suppress(lifecycle.IllegalMove):
        tasks.apply(host.db, task_id, "failed", host.now(), error=error)
    host.changed.set()


async def clear_away(host: Host, task_id: str) -> None:
    """Brings what is left of a run in line with the task's row: the container is stopped and kept, or removed."""
    task = tasks.get(host.db, task_id)
    keep = task["status"] in KEPT or task["status"] == lifecycle.RUNNING
    if task["status"] == lifecycle.RUNNING:
        tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container was stopped.")
    if (record := tasks.open_run(host.db, task_id)) is not None:
        tasks.end_run(host.db, record["id"], host.now())    # first: from here on a message starts a new run
    if keep:
        await host.sandbox.stop(name_of(task_id), 0)
    else:
        await host.sandbox.remove(name_of(task_id))
    if task["status"] in lifecycle.TERMINAL and not host.settings.workspace_retention_seconds:
        await remove_workspace(host, task_id)
    host.changed.set()


async def remove_workspace(host: Host, task_id: str) -> None:
    for name in volumes_of(task_id):
        await host.sandbox.remove_volume(name)
    with contextlib.suppress(FileNotFoundError):
        for entry in (directory := _directory_of(host, task_id)).iterdir():
            entry.unlink()
        directory.rmdir()
    host.db.conn.execute("UPDATE tasks SET workspace_removed_at = ? WHERE id = ?", (iso(host.now()), task_id))


def name_of(task_id: str) -> str:
    return f"agentcontainer-{task_id}"


def volumes_of(task_id: str) -> tuple[str, str]:
    """The workspace, and Pi's session with its settings."""
    return f"agentcontainer-{task_id}-work", f"agentcontainer-{task_id}-state"


def _labels(task_id: str) -> dict[str, str]:
    return {"agentcontainer.task": task_id}


def _directory_of(host: Host, task_id: str) -> Path:
    return host.runtime_dir / "runs" / task_id


def _directory(host: Host, task_id: str) -> Path:
    """What the container mounts; made again where a reboot has taken it."""
    directory = _directory_of(host, task_id)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(exist_ok=True)
    directory.chmod(0o711)
    return directory
