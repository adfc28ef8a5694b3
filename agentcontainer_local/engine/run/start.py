"""How a task gets its container: its image, what Pi is told, volumes, and a new container or the kept one."""

import asyncio
import functools
import json
import logging
from dataclasses import replace
from pathlib import Path

from agentcontainer_local import lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run import uids
from agentcontainer_local.engine.run.names import labels, name_of, volumes_of
from agentcontainer_local.pi import bundle, workspace
from agentcontainer_local.pi import launch as pi
from agentcontainer_local.process import failpoints
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.podman import enforcement, standard_images, writable_images
from agentcontainer_local.store import agents, containers, events, tasks
from agentcontainer_local.store.db import Row

log = logging.getLogger(__name__)


async def start(host: Host, task_id: str, record: Row, directory: Path) -> int | None:
    """Starts the task's container and answers its first process; None if the task was ended meanwhile."""
    task = tasks.get(host.db, task_id)
    image = await _unless_ended(host, task_id, _image(host, task))
    if image is None:
        return None
    failpoints.point("image.there")
    uid = await uids.claimed(host, task)
    bundle.allow_uid(host.runtime, uid)
    if not tasks.is_first_run(host.db, record) and (pid := await _start_kept(host, task_id, record, directory)):
        return pid
    await _make(host, task, record, image, uid, directory)
    failpoints.point("container.starting")
    return await host.sandbox.start(name_of(host, task_id), seen={})


async def _start_kept(host: Host, task_id: str, record: Row, directory: Path) -> int | None:
    """The container of an earlier run; None if there is none, or it is of no use any more and was removed."""
    name = name_of(host, task_id)
    found = await host.sandbox.inspect(name)
    if found is None:
        return None
    _write_launch(host, task_id, record, directory, await writable_images.environment(host.sandbox, found["Image"]))
    try:
        if found["State"]["Status"] not in podman.ENDED:
            await host.sandbox.stop(name, 0)  # there may be a life in it that nobody follows
            await host.sandbox.end_strays(found["Id"])
            found = None
        failpoints.point("container.restarting")
        return await host.sandbox.start(name, found)
    except podman.Unavailable:
        raise
    except podman.SandboxError as error:
        log.warning("a kept container is of no use container=%s: %s", name, error)
        await host.sandbox.remove(name)
        return None


async def _make(host: Host, task: Row, record: Row, image: str, uid: int, directory: Path) -> None:
    """A new container, on the volumes that are there already, or not yet."""
    if task["has_container"]:
        what = "The container was made anew: workspace and session are kept, what was installed elsewhere is gone."
        lost = {"kind": "new_container", "message": what}
        events.append(host.db, task["id"], events.NOTICE, lost, host.now())
    marks, volumes = labels(task["id"]), volumes_of(name_of(host, task["id"]))
    env, *_ = await asyncio.gather(
        writable_images.environment(host.sandbox, image),
        *(host.sandbox.create_volume(name, marks, uid) for name in volumes),
    )
    _write_launch(host, task["id"], record, directory, env)
    failpoints.point("volumes.made")
    limits = wanted(host, task["id"])
    spec = enforcement.around(_spec(host, task, image, uid, directory), limits)
    try:
        created = await host.sandbox.create(spec)
    except podman.ImageMissing:  # somebody has removed it since we looked
        host.images.clear()
        spec = replace(spec, image=await _image(host, task))
        _write_launch(host, task["id"], record, directory, await writable_images.environment(host.sandbox, spec.image))
        created = await host.sandbox.create(spec)
    failpoints.point("container.made")
    walls = enforcement.note(spec, limits, created)
    tasks.runs.got_container(host.db, record["id"], spec.image, created.id, walls)


def wanted(host: Host, task_id: str) -> enforcement.Wanted:
    return enforcement.wanted(host.settings, host.db, tasks.get(host.db, task_id))


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
    """Looked for once: two questions to Podman are a hundredth of a second of each task's start."""
    version_id = task["container_version_id"]
    version = containers.version(host.db, version_id)
    if version_id not in host.images:
        host.images[version_id] = await _found(host, task, version)
    image, paths = host.images[version_id], json.loads(version["writable_paths"])
    if not paths:
        return image
    found = await host.sandbox.image(image)  # each time: there may be another one of that name by now
    if found is None:
        host.images.pop(version_id)
        return await _image(host, task)
    return await writable_images.ensure(host.sandbox, found, paths, host.runtime, functools.partial(_say, host, image))


async def _found(host: Host, task: Row, version: Row) -> str:
    image = version["image"] or standard_images.BY_PRESET[version["preset"]]
    with host.preparing.waiting(task["id"], image):
        if version["preset"] is not None:
            return await standard_images.ensure(host.sandbox, image, functools.partial(_built, host))
        if await host.sandbox.image_id(image) is None:
            _say(host, image, f"Pulling image {image}")
            try:
                await host.sandbox.pull(image, log.info)
            except podman.SandboxError as error:
                kind = podman.Unavailable if isinstance(error, podman.Unavailable) else podman.SandboxError
                raise kind(f"The image {image} can't be had: {error}") from None
        return image


def _built(host: Host, line: str) -> None:
    log.info(line)
    if told := standard_images.told(line):
        _say(host, *told)


def _say(host: Host, image: str, words: str) -> None:
    """To all tasks that wait for the image."""
    told = host.preparing.says(image, words)
    waiting = [task_id for task_id in told if tasks.get(host.db, task_id)["status"] == lifecycle.PENDING]
    for task_id in waiting:
        events.append(host.db, task_id, events.NOTICE, {"kind": "preparing", "message": words}, host.now())
    host.changed.set(*waiting)


def _spec(host: Host, task: Row, image: str, uid: int, directory: Path) -> podman.ContainerSpec:
    name = name_of(host, task["id"])
    work, state = volumes_of(name)
    return podman.ContainerSpec(
        name=name,
        image=image,
        command=(f"{pi.MOUNT}/libexec/node", f"{pi.MOUNT}/guest/daemon.mjs"),
        uid=uid,
        env={"HOME": "/workspace", "NODE_COMPILE_CACHE": f"{pi.MOUNT}/cache/compile"},
        labels=labels(task["id"]),
        workdir="/workspace",
        binds=(podman.Bind(str(host.runtime), pi.MOUNT), podman.Bind(str(directory), "/run/agentcontainer")),
        volumes=(podman.Mounted(work, "/workspace"), podman.Mounted(state, pi.STATE)),
        network="internet" if task["internet_access"] else "none",
        hostname="agent",
    )


def _write_launch(host: Host, task_id: str, record: Row, directory: Path, env: dict[str, str]) -> None:
    """How Pi is to be started, for the task as it is at this moment. `env`: the image's."""
    with host.db.atomic():
        task = tasks.get(host.db, task_id)
        execution = tasks.execution(host.db, host.vault, task, host.environ)
        sealed = host.vault.seal(execution.api_key) if execution.api_key else None
        tasks.runs.launched(host.db, record["id"], task, execution.base_url, sealed)
    version = agents.version(host.db, task["agent_id"], task["agent_version_id"])
    harness = workspace.document(host.db, task, "HARNESS.md")
    skills = [skill["skill"] for skill in (*json.loads(version["skills"]), *json.loads(task["skills"]))]
    launch = pi.launch(task, execution, version["base_prompt"], harness, host.catalog, list(dict.fromkeys(skills)), env)
    path = directory / "launch.json"
    path.write_text(json.dumps(launch))
    path.chmod(0o644)  # whatever our umask: the guest is another uid
    failpoints.point("launch.written")


def started(host: Host, task_id: str, run_id: str) -> None:
    failpoints.point("container.started")
    with host.db.atomic():
        tasks.runs.started(host.db, run_id, host.now())
        host.db.conn.execute("UPDATE tasks SET has_container = 1 WHERE id = ?", (task_id,))
        if tasks.get(host.db, task_id)["status"] == lifecycle.PENDING:
            tasks.apply(host.db, task_id, "started", host.now())
    host.changed.set(task_id)
