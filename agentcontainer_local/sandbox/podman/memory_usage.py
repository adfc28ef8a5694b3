"""The memory and processes of containers, read from /proc."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Usage:
    """The usage of one container. A memory page counts for each process that maps it, so the bytes can be too high."""

    pids: list[int] = field(default_factory=list)
    processes: int = 0  # threads count as processes, as for the kernel's limits
    private_bytes: int = 0  # memory that is not backed by a file
    shared_bytes: int = 0  # memory files, as far as processes map them


def of_containers(inits: Iterable[int]) -> dict[int, Usage]:
    """The usage by the pid of the container's first process, in one pass over /proc. Ended containers are left out.

    A container's processes share its uid and its pid namespace; the uid alone could also be in use by another store.
    The uid is read from the owner of /proc/PID, which is correct even for processes that made themselves undumpable.
    """
    places = {place: init for init in inits if (place := _place(init))}
    uids = {uid for uid, _ in places}
    found = {init: Usage() for init in places.values()}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or _owner(entry) not in uids:
            continue
        if (place := _place(int(entry.name))) and (init := places.get(place)):
            _add(found[init], int(entry.name))
    return found


def exact(used: Usage) -> tuple[int, int]:
    """Private and shared bytes, with shared pages counted once. Slower, because the kernel reads page tables."""
    wanted = ("Pss_Anon:", "SwapPss:", "Pss_Shmem:")
    maps = [_numbers(f"/proc/{pid}/smaps_rollup", wanted) for pid in used.pids]
    private = sum(found.get("Pss_Anon:", 0) + found.get("SwapPss:", 0) for found in maps)
    return private * 1024, sum(found.get("Pss_Shmem:", 0) for found in maps) * 1024


def memory_files() -> int:
    """Bytes in memory files of the whole machine, including those that no process maps."""
    return _numbers("/proc/meminfo", ("Shmem:",)).get("Shmem:", 0) * 1024


def out_of_memory_kills(init: int) -> int:
    """How often the kernel killed a process of this container for exceeding its cgroup's memory limit."""
    with contextlib.suppress(OSError, ValueError):
        if events := memory_events(Path(f"/proc/{init}/cgroup").read_text()):
            return oom_kill(events.read_text())
    return 0


def memory_events(cgroups: str) -> Path | None:
    """The memory.events file of cgroup v2 for a process with this content of /proc/PID/cgroup."""
    paths = [line.removeprefix("0::/") for line in cgroups.splitlines() if line.startswith("0::/")]
    return Path("/sys/fs/cgroup", paths[0], "memory.events") if paths and paths[0] else None


def oom_kill(counts: str) -> int:
    return int(dict(line.split() for line in counts.splitlines()).get("oom_kill", 0))


def _place(pid: int) -> tuple[int, int] | None:
    """The uid and the pid namespace of a process. None if it has ended."""
    try:
        return os.stat(f"/proc/{pid}").st_uid, os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None


def _owner(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_uid
    except OSError:
        return None


def _add(usage: Usage, pid: int) -> None:
    facts = _numbers(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:", "VmSwap:", "Threads:"))
    usage.processes += facts.get("Threads:", 0)
    usage.private_bytes += (facts.get("RssAnon:", 0) + facts.get("VmSwap:", 0)) * 1024
    usage.shared_bytes += facts.get("RssShmem:", 0) * 1024
    usage.pids.append(pid)


def _numbers(path: str, names: tuple[str, ...]) -> dict[str, int]:
    """The numbers in lines such as `Name:   12 kB`. Empty if the process has ended."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if words and words[0] in names}
