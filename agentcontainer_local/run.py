"""One run of one task: from its pending row to a container that is gone, or kept for later."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from agentcontainer_local import (
    agents,
    crash,
    history,
    images,
    lifecycle,
    messages,
    pi,
    runtime,
    sandbox,
    tasks,
    walls,
    workspace,
)
from agentcontainer_local.db import Row, iso, row
from agentcontainer_local.errors import Problem
from agentcontainer_local.host import Host

log = logging.getLogger(__name__)

OpenDoor = Callable[[Row, Path], AbstractAsyncContextManager[None]]     # a run and its directory → the socket is served

MOST_NUDGES = 2
LAST_PART, MOST_LAST_SECONDS = 10, 300  # a tenth of the time, but not more, is kept for `finish`
LEAST_PARTED_SECONDS = 60
AT_ONCE = 1e-6                      # look again
LIE_DOWN_SECONDS = 0.5
# Exit codes. The guest ends with 0 on SIGTERM; 143 and 137 are what Podman sees of one that did not, or not in time.
STOPS = (0, 143)
STOPS_UNSEEN = (0, 143, 137, None)
FIRST_UID, UIDS = 20_000, 40_000    # one of its own for each task, within the 65,536 that an account has


async def run(host: Host, task_id: str, open_door: OpenDoor, alive: sandbox.Found | None = None) -> None:
    """Runs the task until its row says that it no longer should; `alive` is its container, if one is at work already.

    Cancelled (the server ends), it lets go and leaves everything as it is, for the next server to take up.
    """
    try:
        record = tasks.open_run(host.db, task_id) if alive else tasks.begin_run(host.db, task_id, host.now())
        crash.point("run.begun")
        directory = _directory(host, task_id)
        async with open_door(record, directory):
            crash.point("door.opened")
            pid = alive.pid if alive else await _start(host, task_id, record, directory)
            if pid is not None:
                _started(host, task_id, record["id"])
                ceiling = walls.ceiling(_wanted(host, task_id))
                async with host.sandbox.watching(name_of(task_id), pid, ceiling) as broken:
                    await _follow(host, task_id, pid, broken)
    except (sandbox.SandboxError, Problem) as error:
        _fail(host, task_id, str(error))
    except sqlite3.OperationalError:
        raise                       # the disk is full: nothing can be written now, and the supervisor tries again
    except Exception:
        log.exception("run failed task=%s", task_id)
        _fail(host, task_id, "Internal error; the server's log says more.")
    await clear_away(host, task_id)


async def _start_or_fail(host: Host, task_id: str, record: Row, directory: Path) -> int | None:
    try:
        return await _start(host, task_id, record, directory)
    except (sandbox.SandboxError, Problem) as error:
        _fail(host, task_id, str(error))
        return None


async def _start(host: Host, task_id: str, record: Row, directory: Path) -> int | None:
    """Starts the task's container and answers its first process; None if the task was ended meanwhile."""
    task = tasks.get(host.db, task_id)
    image = await _unless_ended(host, task_id, _image(host, task))
    if image is None:
        return None
    crash.point("image.there")
    uid = uid_of(task["number"])
    runtime.allow_uid(host.runtime, uid)
    _write_launch(host, task_id, record, directory)
    if (pid := await _start_kept(host, name_of(task_id))) is not None:
        return pid
    await _make(host, task, record, image, uid, directory)
    crash.point("container.starting")
    return await host.sandbox.start(name_of(task_id))


async def _start_kept(host: Host, name: str) -> int | None:
    """The container of an earlier run; None if there is none, or it is of no use any more and was removed."""
    if await host.sandbox.inspect(name) is None:
        return None
    try:
        await host.sandbox.stop(name, 0)        # there may be a life in it that nobody follows
        crash.point("container.restarting")
        return await host.sandbox.start(name)
    except sandbox.SandboxError as error:
        log.warning("a kept container is of no use container=%s: %s", name, error)
        await host.sandbox.remove(name)
        return None


async def _make(host: Host, task: Row, record: Row, image: str, uid: int, directory: Path) -> None:
    """A new container, on the volumes that are there already, or not yet."""
    if task["has_container"]:
        what = "The container was made anew: workspace and session are kept, what was installed elsewhere is gone."
        lost = {"kind": "new_container", "message": what}
        history.append(host.db, task["id"], history.NOTICE, lost, host.now())
    labels = _labels(task["id"])
    await asyncio.gather(*(host.sandbox.create_volume(name, labels, uid) for name in volumes_of(task["id"])))
    crash.point("volumes.made")
    wanted = _wanted(host, task["id"])
    spec = walls.around(_spec(host, task, image, uid, directory), wanted)
    created = await host.sandbox.create(spec)
    crash.point("container.made")
    host.db.conn.execute(
        "UPDATE runs SET image = ?, container_id = ?, walls = ? WHERE id = ?",
        (image, created.id, walls.note(spec, wanted, created), record["id"]),
    )


def _wanted(host: Host, task_id: str) -> walls.Wanted:
    return walls.wanted(host.settings, host.db, tasks.get(host.db, task_id))


async def _unless_ended(host: Host, task_id: str, work) -> str | None:
    """What `work` answers; None if the task ends first (the work, shared with other tasks, goes on)."""
    working = asyncio.ensure_future(work)
    while not working.done():
        changed = host.changed.mark(task_id)
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


def _write_launch(host: Host, task_id: str, record: Row, directory: Path) -> None:
    """How Pi is to be started, for the task as it is at this moment."""
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        tasks.launched(host.db, record, task)
    execution = tasks.execution(host.db, host.vault, task, host.environ)
    version = agents.version(host.db, task["agent_id"], task["agent_version_id"])
    harness = next(item.text for item in workspace.inputs(host.db, task) if item.name == "HARNESS.md")
    skills = [skill["skill"] for skill in json.loads(version["skills"])]
    launch = pi.launch(task, execution, version["base_prompt"], harness, host.catalog, skills)
    (directory / "launch.json").write_text(json.dumps(launch))
    crash.point("launch.written")


def _started(host: Host, task_id: str, run_id: str) -> None:
    crash.point("container.started")
    with host.db.atomic():
        now = iso(host.now())
        host.db.conn.execute("UPDATE runs SET started_at = coalesce(started_at, ?) WHERE id = ?", (now, run_id))
        host.db.conn.execute("UPDATE tasks SET has_container = 1 WHERE id = ?", (task_id,))
        if tasks.get(host.db, task_id)["status"] == lifecycle.PENDING:
            tasks.apply(host.db, task_id, "started", host.now())
    host.changed.set(task_id)


async def _follow(host: Host, task_id: str, pid: int, broken: asyncio.Future[sandbox.Broken]) -> None:
    """Acts on what the rows say, until the task is at rest or over, or its container has ended or takes too much."""
    exited = asyncio.ensure_future(host.sandbox.exited(pid))
    idle = _Idle()
    try:
        while True:
            changed = host.changed.mark(task_id)
            task = tasks.get(host.db, task_id)
            if broken.done():
                return _fail(host, task_id, walls.error(broken.result()))
            if exited.done():
                return await _ended(host, task)
            if task["status"] == lifecycle.RUNNING:
                wait = _due(host, task)
            elif task["status"] == lifecycle.AWAITING_INPUT:
                wait = _rest(host, idle.seconds(task))
            else:
                return await _let_lie_down(host, task, exited)
            if wait <= 0:
                return tasks.end_run(host.db, task_id, host.now())      # at once: a message from here on starts another
            await asyncio.wait({changed, exited, broken}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    finally:
        exited.cancel()
        await asyncio.wait({exited})


class _Idle:
    """For how long a conversation has waited for its next message, by a clock that nobody sets."""

    def __init__(self):
        self.turn: int | None = None
        self.since = 0.0

    def seconds(self, task: Row) -> float:
        if self.turn != task["turn_number"]:
            self.turn, self.since = task["turn_number"], time.monotonic()
        return time.monotonic() - self.since


def _rest(host: Host, idle_seconds: float) -> float:
    """How long an idle conversation's container may still run; 0 when its time is over or others wait for its room."""
    if host.wanted_room > 0:
        host.wanted_room -= 1
        return 0
    return max(0, host.settings.idle_seconds - idle_seconds)


async def _let_lie_down(host: Host, task: Row, exited: asyncio.Future) -> None:
    """An agent that asked for its sleep gets a moment to hear that it was granted: its session then says so."""
    deadline = time.monotonic() + LIE_DOWN_SECONDS
    while task["status"] == lifecycle.HIBERNATING and (left := deadline - time.monotonic()) > 0:
        changed = host.changed.mark(task["id"])
        if tasks.open_run(host.db, task["id"])["settled_at"] is not None:
            return
        await asyncio.wait({changed, exited}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        task = tasks.get(host.db, task["id"])


def _due(host: Host, task: Row) -> float:
    """Does what is due for a running task; answers for how many seconds nothing else is, 0 when this run is to end."""
    run = tasks.open_run(host.db, task["id"])
    used_seconds = (tasks.container_ms(task, host.now()) - task["turn_used_ms"]) / 1000
    if used_seconds >= task["max_runtime_seconds"]:
        _out_of_time(host, task)
        return 0
    if not tasks.fits(task, run) and (run["opened_at"] is None or run["settled_at"] is not None):
        tasks.apply(host.db, task["id"], "interrupted", host.now(), reason="Pi is started anew, in its new mode.")
        return 0
    if run["settled_at"] is not None and (run["opened_at"] is None or _has_all(host, task)):
        _after_settling(host, task, run)
        host.changed.set(task["id"])
        return AT_ONCE
    soft = _soft_seconds(task)
    if soft is not None and run["soft_told_at"] is None:
        if used_seconds < soft:
            return soft - used_seconds
        host.db.conn.execute("UPDATE runs SET soft_told_at = ? WHERE id = ?", (iso(host.now()), run["id"]))
        host.changed.set(task["id"])
    return task["max_runtime_seconds"] - used_seconds


def _soft_seconds(task: Row) -> float | None:
    """When the agent is told to wrap up. Where nobody said when, the last part of a longer time is kept for that."""
    most = task["max_runtime_seconds"]
    if task["soft_finish_after_seconds"] is not None or most < LEAST_PARTED_SECONDS:
        return task["soft_finish_after_seconds"]
    return most - min(most / LAST_PART, MOST_LAST_SECONDS)


def _has_all(host: Host, task: Row) -> bool:
    """An autonomous agent that settles may have more to hear; the messages of a conversation wait for their turn."""
    return task["mode"] == "conversation" or not messages.waiting(host.db, task["id"])


def _out_of_time(host: Host, task: Row) -> None:
    limit = f"{task['max_runtime_seconds']} seconds, its maxRuntimeSeconds"
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], f"The turn ran for {limit}, without an answer.", host.now())
    else:
        error = f"The task ran for {limit}, without finishing."
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)


def _after_settling(host: Host, task: Row, run: Row) -> None:
    """Pi has nothing more to do, and `finish` was not accepted; of a conversation it is the answer."""
    crash.point("run.settled")
    error = run["settled_error"] and (task["budget_error"] or run["settled_error"])
    if error is not None and tasks.ask_to_finish(host.db, task, run, host.now()):
        return
    if task["mode"] == "conversation":
        tasks.end_turn(host.db, task["id"], error, host.now())
    elif error is not None:
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)
    elif run["nudges"] >= MOST_NUDGES:
        error = f"The agent stopped without calling finish, and did so again after it was told {MOST_NUDGES} times."
        tasks.apply(host.db, task["id"], "failed", host.now(), error=error)
    else:
        host.db.conn.execute("UPDATE runs SET nudges = nudges + 1, settled_at = NULL WHERE id = ?", (run["id"],))


async def _ended(host: Host, task: Row) -> None:
    """The container has ended by itself, or somebody else ended it."""
    if task["status"] == lifecycle.RUNNING:
        await lost(host, task["id"], seen=True)


async def lost(host: Host, task_id: str, seen: bool) -> None:
    """A running task has no running container. Its agent died, unless it was stopped in order or with the machine.

    While nobody looked (not `seen`) the guest would have waited to say that Pi had died: whatever else ended it then
    is a stop.
    """
    run, code = tasks.open_run(host.db, task_id), await host.sandbox.exit_code(name_of(task_id))
    words = (run and run["last_words"]) or await host.sandbox.logs_tail(name_of(task_id), 4096)
    crash.point("container.lost")
    with contextlib.suppress(lifecycle.IllegalMove):
        if (run and run["last_words"]) or code not in (STOPS if seen else STOPS_UNSEEN):
            last_words = words.strip() or f"none; its exit code was {code}."
            tasks.died(host.db, task_id, host.now(), last_words=last_words)
        else:
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container was stopped.")
    tasks.end_run(host.db, task_id, host.now())
    host.changed.set(task_id)


def _fail(host: Host, task_id: str, error: str) -> None:
    with contextlib.suppress(lifecycle.IllegalMove):
        tasks.apply(host.db, task_id, "failed", host.now(), error=error)
    host.changed.set(task_id)


async def clear_away(host: Host, task_id: str) -> None:
    """Brings what is left of a run in line with the task's row: the container is stopped and kept, or removed."""
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        if task["status"] == lifecycle.RUNNING:
            tasks.apply(host.db, task_id, "interrupted", host.now(), reason="The container is stopped.")
        tasks.end_run(host.db, task_id, host.now())     # from here on a message starts a new run
    crash.point("run.ended")
    if task["status"] not in lifecycle.TERMINAL:
        await host.sandbox.stop(name_of(task_id), 0)
        crash.point("container.stopped")
        await _note_size(host, task_id)
    else:
        if host.settings.workspace_retention_seconds:
            await _note_size(host, task_id)
        await _remove_container(host, task_id)
        if not host.settings.workspace_retention_seconds:
            await remove_workspace(host, task_id)
    host.changed.set(task_id)


async def _note_size(host: Host, task_id: str) -> None:
    """Of what is kept: the account's `checkpointStorage` is their sum."""
    try:
        kept_bytes = await host.sandbox.disk_bytes(name_of(task_id))
    except OSError as error:
        log.warning("what is kept could not be measured task=%s: %s", task_id, error)
        return
    host.db.conn.execute("UPDATE tasks SET kept_bytes = ? WHERE id = ?", (kept_bytes, task_id))


async def _remove_container(host: Host, task_id: str) -> None:
    await host.sandbox.remove(name_of(task_id))
    crash.point("container.removed")
    host.db.conn.execute("UPDATE tasks SET has_container = 0 WHERE id = ?", (task_id,))
    with contextlib.suppress(FileNotFoundError):
        for entry in (directory := _directory_of(host, task_id)).iterdir():
            entry.unlink()
        directory.rmdir()


async def remove_workspace(host: Host, task_id: str) -> None:
    crash.point("volumes.removing")
    for name in volumes_of(task_id):
        await host.sandbox.remove_volume(name)
    crash.point("volumes.removed")
    host.db.conn.execute(
        "UPDATE tasks SET workspace_removed_at = ?, kept_bytes = 0 WHERE id = ?", (iso(host.now()), task_id)
    )


def uid_of(number: int) -> int:
    """What a task's agent is inside its container."""
    return FIRST_UID + number % UIDS


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
