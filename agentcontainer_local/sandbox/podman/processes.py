"""Processes of containers as the kernel reports them, to verify what Podman says."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path


async def exited(pid: int) -> None:
    """Returns when the process has ended (1-2 ms later). It need not be a child of this process."""
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
    """The conmon process that monitors this container, if `pid` is still that container's first process; else None.

    This is needed because Podman reports "running" for ever after conmon was killed, and because pids are reused after
    a reboot.
    """
    parent = _parent(pid)
    if parent is None:
        return None
    words = command_line(parent)
    return parent if container_id in words and any("conmon" in word for word in words[:1]) else None


def being_cleaned_up(container_id: str) -> bool:
    """Whether conmon, or the podman that it calls, is still cleaning up after the container's previous end.

    That cleanup would remove what the next start has already set up.
    """
    return any(container_id in command_line(pid) for pid in (*_named("conmon"), *_named("podman")))


def end_strays(container: str) -> None:
    """Kills the remaining processes of a container, given by id or name, that Podman no longer knows.

    If the service is killed just after it started conmon, conmon stays, with a process that would wait for ever to be
    started.
    """
    for conmon in _named("conmon"):
        if container in command_line(conmon):
            for child in _children(conmon):
                if _name(child) != "podman":  # conmon's own cleanup, which must finish
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)


def network_servers(namespace: str) -> list[int]:
    """The pasta or slirp4netns processes that serve this network namespace. Its path is among their arguments."""
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
