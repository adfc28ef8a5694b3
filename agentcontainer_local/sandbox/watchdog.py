"""What no cgroup keeps: the memory, the processes and the disk of running containers, looked at once a second."""

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agentcontainer_local import itself
from agentcontainer_local.sandbox import cpus, kills, usage
from agentcontainer_local.sandbox.service import Service
from agentcontainer_local.sandbox.spec import Broken, Ceiling

log = logging.getLogger(__name__)

MB = 1024**2
SCAN_SECONDS = 1
# Folders are measured when the disk has lost what might break a limit, or memory files have grown; but at least so
# often, as others may have given back what this one took; and never for more than a tenth of the time.
MEASURE_SECONDS = 60
RESTING = 10
LEAST_CHANGE = 32 * MB
# With less than this free, whoever has taken most is ended before the server itself finds no room.
LEAST_FREE = 512 * MB
LEAST_BLAMED = 64 * MB
MEASURE = Path(__file__).with_name("measure.py")


@dataclass(eq=False)
class Watched:
    pid: int
    ceiling: Ceiling
    paths: list[str]
    broken: asyncio.Future[Broken]
    cpus: float | None      # to which it is kept by affinity
    pids: list[int] = field(default_factory=list)
    disk_bytes: int = 0
    memory_file_bytes: int = 0

    def tell(self, limit: str, used: int | None, allowed: int) -> None:
        if not self.broken.done():
            self.broken.set_result(Broken(limit, used, allowed))


class Watchdog:
    """`run` it as a task; it rests while nothing is watched."""

    def __init__(self, service: Service):
        self._service = service
        self._watched: set[Watched] = set()
        self._some = asyncio.Event()
        self._free = self._shared = 0       # of the machine, when folders were measured last
        self._measured_at = self._rests_until = 0.0

    @contextlib.contextmanager
    def watching(
        self, pid: int, ceiling: Ceiling, paths: list[str], cpus: float | None
    ) -> Iterator[asyncio.Future[Broken]]:
        """A future of what was Broken first; what then happens is its holder's to say."""
        watched = Watched(pid, ceiling, paths, asyncio.get_running_loop().create_future(), cpus)
        if not self._watched:
            self._remember([watched])
        self._watched.add(watched)
        self._some.set()
        try:
            with kills.heard(pid, lambda: watched.tell("memory", None, ceiling.memory_bytes)):
                yield watched.broken
        finally:
            self._watched.discard(watched)
            watched.broken.cancel()
            if not self._watched:
                self._some.clear()

    async def disk_bytes(self, paths: list[str]) -> int:
        """What lies there at this moment."""
        [answer] = await self._ask([{"paths": paths, "pids": []}])
        return answer["disk"]

    async def run(self) -> None:
        while True:
            await self._some.wait()
            try:
                await self._scan(list(self._watched))
            except Exception:               # a look that failed is made again
                log.exception("the watchdog could not look")
            await asyncio.sleep(SCAN_SECONDS)

    async def _scan(self, watched: list[Watched]) -> None:
        found = await asyncio.to_thread(_look, watched)
        for one in watched:
            if one.pid in found:
                found[one.pid].judge(one)
        if self._must_measure(watched):
            await self._measure(watched)

    def _must_measure(self, watched: list[Watched]) -> bool:
        """Whether anything has happened on this machine that could mean a broken limit."""
        now = time.monotonic()
        if not watched or now < self._rests_until:
            return False
        if now - self._measured_at >= MEASURE_SECONDS:
            return True
        lost, grown = self._free - _free(watched), usage.memory_files() - self._shared
        room = min(one.ceiling.disk_bytes - one.disk_bytes for one in watched)
        memory_room = min(one.ceiling.memory_bytes for one in watched) // 4
        return lost > max(LEAST_CHANGE, room // 2) or grown > max(LEAST_CHANGE, memory_room)

    async def _measure(self, watched: list[Watched]) -> None:
        began = time.monotonic()
        self._remember(watched)
        answers = await self._ask([{"paths": one.paths, "pids": one.pids} for one in watched])
        self._rests_until = time.monotonic() + RESTING * (time.monotonic() - began)
        for one, answer in zip(watched, answers, strict=True):
            one.disk_bytes, one.memory_file_bytes = answer["disk"], answer["memory"]
            if one.disk_bytes > one.ceiling.disk_bytes:
                one.tell("disk", one.disk_bytes, one.ceiling.disk_bytes)
        most = max(watched, key=lambda one: one.disk_bytes)
        if self._free < LEAST_FREE and most.disk_bytes > LEAST_BLAMED:
            most.tell("disk_full", most.disk_bytes, most.ceiling.disk_bytes)

    def _remember(self, watched: list[Watched]) -> None:
        self._measured_at, self._free, self._shared = time.monotonic(), _free(watched), usage.memory_files()

    async def _ask(self, wanted: list[dict]) -> list[dict]:
        """Volumes belong to sub-uids, and agents close their folders: only our user namespace's root sees all."""
        running = await asyncio.create_subprocess_exec(
            "podman", "unshare", "nice", *itself.script(MEASURE), env=self._service.environment, cwd="/",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, errors = await running.communicate(json.dumps(wanted).encode())
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        if running.returncode:
            raise OSError(errors.decode(errors="replace")[-500:])
        return json.loads(said)


@dataclass(frozen=True)
class _Seen:
    processes: int
    memory_bytes: int
    kills: int

    def judge(self, one: Watched) -> None:
        if self.kills:
            one.tell("memory", None, one.ceiling.memory_bytes)
        elif self.memory_bytes > one.ceiling.memory_bytes:
            one.tell("memory", self.memory_bytes, one.ceiling.memory_bytes)
        elif self.processes >= one.ceiling.processes:
            one.tell("processes", self.processes, one.ceiling.processes)


def _look(watched: list[Watched]) -> dict[int, _Seen]:
    """By pid, what runs; in a thread, as with many processes it takes a while."""
    found = usage.of_containers(one.pid for one in watched)
    seen = {}
    for one in watched:
        if (used := found.get(one.pid)) is not None:
            one.pids = used.pids
            if one.cpus:
                cpus.confine(one.pid, one.cpus, used.pids)
            seen[one.pid] = _Seen(used.processes, _memory(one, used), usage.out_of_memory_kills(one.pid))
    return seen


def _memory(one: Watched, used: usage.Usage) -> int:
    """Counted quickly, and exactly where that is too much."""
    private, shared = used.private_bytes, used.shared_bytes
    if private + shared > one.ceiling.memory_bytes:
        private, shared = usage.exact(used)
    return private + max(shared, one.memory_file_bytes)


def _free(watched: list[Watched]) -> int:
    """Bytes that are left where containers write; they are all in Podman's storage."""
    for path in (path for one in watched for path in one.paths):
        with contextlib.suppress(OSError):
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize
    return sys.maxsize
