"""Processes of containers as the kernel sees them, which Podman's word is checked against."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path


async def exited(pid: int) -> None:
    """Return when the process has ended (1-2 ms after); it need not be a child of ours."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, end)
    try:
        await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def conmon_of(pid: int, container_id: str) -> int | None:
    """The conmon that keeps this container, if `pid` still is that container's first process.

    Podman says "running" for ever once conmon was killed, and a pid means another process after a reboot.
    """
    parent = _parent(pid)
    if parent is None:
        return None
    words = command_line(parent)
    return parent if container_id in words and any("conmon" in word for word in words[:1]) else None


def being_left(container_id: str) -> bool:
    """Whether a former life of a container is still being cleaned up: by its conmon, or by the podman that it calls.

    That clean-up would take away what has been initialized meanwhile for the next life.
    """
    return any(container_id in command_line(pid) for pid in (*_named("conmon"), *_named("podman")))


def end_strays(container: str) -> None:
    """Kill what is left of a container that Podman no longer knows; by id or name.

    A service that is killed between conmon's start and its own note of it leaves a conmon, and a process that would
    wait for ever to be started.
    """
    for conmon in _named("conmon"):
        if container in command_line(conmon):
            for child in _children(conmon):
                if _name(child) != "podman":  # conmon's own clean-up is left to finish
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)


def network_servers(namespace: str) -> list[int]:
    """The pasta or slirp4netns that serves this network namespace, which it was given as a path."""
    programs = ("pasta", "pasta.avx2", "slirp4netns")
    return [pid for name in programs for pid in _named(name) if namespace in command_line(pid)]


def _named(name: str) -> list[int]:
    pids = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    return [pid for pid in pids if _name(pid) == name]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else int(parent)
