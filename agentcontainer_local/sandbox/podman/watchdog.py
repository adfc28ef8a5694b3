"""Limits that cgroups do not enforce: checks the memory, processes and disk of running containers once a second."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentcontainer_local.process import entry_point
from agentcontainer_local.sandbox.podman import cpu_affinity as cpus
from agentcontainer_local.sandbox.podman import memory_usage
from agentcontainer_local.sandbox.podman import oom_events as kills
from agentcontainer_local.sandbox.podman.service import Service
from agentcontainer_local.sandbox.podman.spec import Broken, Ceiling, LimitName

log = logging.getLogger(__name__)

MB = 1024**2
SCAN_SECONDS = 1
# A container's files are measured when the disk has lost half of what the container may still use, when memory files
# have grown, and at least every MEASURE_SECONDS, because others may have freed what it took. If the measurement is
# slow, for example with a million files, it is repeated less often, unless the disk has lost enough to exceed the
# limit.
MEASURE_SECONDS = 60
SETTLING_SECONDS = 5  # delay of the first measurement, which would slow the start down
RESTING = 30  # pause after a measurement, as a multiple of its duration
MAX_REST_SECONDS = 600
MIN_CEILING_PART = 10  # in the pause, the disk must lose at least 1/10 of the limit for another measurement
MIN_CHANGE_BYTES = 32 * MB
# Containers with quick measurements are measured together, and do not wait for slow ones.
QUICK_SECONDS = 1
AT_ONCE = 4
# With less free disk than this, the run that uses most is ended, before the server itself has none left.
MIN_FREE_BYTES = 512 * MB
MIN_BLAMED_BYTES = 64 * MB
MEASURE = Path(__file__).with_name("disk_usage.py")


@dataclass(frozen=True)
class Machine:
    """Values that are cheap to read: free bytes where containers write, and bytes in memory files."""

    at: float
    free: int
    shared: int

    @classmethod
    def now(cls, paths: Iterable[str]) -> "Machine":
        return cls(time.monotonic(), _free(paths), memory_usage.memory_files())


@dataclass(eq=False)
class Watched:
    pid: int
    ceiling: Ceiling
    paths: list[str]
    broken: asyncio.Future[Broken]
    cpus: float | None  # the limit, if it is enforced by affinity
    before: Machine  # at the last measurement
    pids: list[int] = field(default_factory=list)
    disk_bytes: int = 0
    memory_file_bytes: int = 0
    took: float = 0
    measured: bool = True  # False while a measurement is in progress

    def tell(self, limit: LimitName, used: int | None, allowed: int) -> None:
        if not self.broken.done():
            self.broken.set_result(Broken(limit, used, allowed))

    def must_be_measured(self, now: Machine) -> bool:
        """Whether the machine's values have changed so much that this container may exceed a limit."""
        passed, lost, grown = now.at - self.before.at, self.before.free - now.free, now.shared - self.before.shared
        rests = passed < min(RESTING * self.took, MAX_REST_SECONDS)
        room, memory = self.ceiling.disk_bytes - self.disk_bytes, self.ceiling.memory_bytes
        enough = max(room, self.ceiling.disk_bytes // MIN_CEILING_PART) if rests else room // 2
        return (
            passed >= MEASURE_SECONDS
            and not rests
            or lost > max(MIN_CHANGE_BYTES, min(enough, self.before.free - MIN_FREE_BYTES))
            or grown > max(MIN_CHANGE_BYTES, memory if rests else memory // 4)
        )


class Watchdog:
    """Checks the watched containers. Start `run` as a task; it idles while nothing is watched."""

    def __init__(self, service: Service):
        self._service = service
        self._watched: set[Watched] = set()
        self._some = asyncio.Event()
        self._measuring: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    @contextlib.contextmanager
    def watching(
        self, pid: int, ceiling: Ceiling, paths: list[str], cpus: float | None, empty: bool
    ) -> Iterator[asyncio.Future[Broken]]:
        """Watches a container while open. The future gets the first exceeded limit; the caller acts on it."""
        broken = asyncio.get_running_loop().create_future()
        before = Machine.now(paths)
        if not empty:
            before = replace(before, at=before.at - MEASURE_SECONDS + SETTLING_SECONDS)
        watched = Watched(pid, ceiling, paths, broken, cpus, before)
        self._watched.add(watched)
        self._some.set()
        try:
            with kills.heard(pid, lambda: watched.tell("memory", None, ceiling.memory_bytes)):
                yield broken
        finally:
            self._watched.discard(watched)
            broken.cancel()
            if not self._watched:
                self._some.clear()

    async def disk_bytes(self, *groups: list[str]) -> list[int]:
        """The bytes below the paths of each group."""
        return [int(answer["disk"]) for answer in await self._ask([{"paths": paths, "pids": []} for paths in groups])]

    async def run(self) -> None:
        try:
            while True:
                await self._some.wait()
                try:
                    await self._scan(list(self._watched))
                except Exception:  # the next scan tries again
                    log.exception("a scan of the running containers failed")
                await asyncio.sleep(SCAN_SECONDS)
        finally:
            for measuring in self._measuring:
                measuring.cancel()
            await asyncio.gather(*self._measuring, return_exceptions=True)

    async def _scan(self, watched: list[Watched]) -> None:
        found = await asyncio.to_thread(_look, watched)
        for one in watched:
            if one.pid in found:
                found[one.pid].judge(one)
        for batch in self._batches():
            for one in batch:
                one.measured = False
            measuring = asyncio.create_task(self._measure(batch), name="measuring")
            self._measuring.add(measuring)
            measuring.add_done_callback(self._measuring.discard)

    def _batches(self) -> list[list[Watched]]:
        idle = [one for one in self._watched if one.measured]
        now = Machine.now(path for one in idle for path in one.paths)
        due = [one for one in idle if one.must_be_measured(now)]
        slow = [[one] for one in due if one.took >= QUICK_SECONDS]
        return [[one for one in idle if one.took < QUICK_SECONDS], *slow] if len(slow) < len(due) else slow

    async def _measure(self, batch: list[Watched]) -> None:
        """Measures these containers, concurrently with the scans."""
        try:
            async with self._places:
                before = Machine.now(path for one in batch for path in one.paths)
                for one in batch:
                    one.before = before
                answers = await self._ask([{"paths": one.paths, "pids": one.pids} for one in batch])
            beside = time.monotonic() - before.at - sum(answer["seconds"] for answer in answers)
        except OSError as error:  # the next scan tries again
            log.warning("the disk usage of containers could not be measured: %s", error)
            return
        except Exception:
            log.exception("the disk usage of containers could not be measured")
            return
        finally:
            for one in batch:
                one.measured = True
        for one, answer in zip(batch, answers, strict=True):
            one.took = answer["seconds"] + beside / len(batch)
            one.disk_bytes, one.memory_file_bytes = answer["disk"], answer["memory"]
            if one.disk_bytes > one.ceiling.disk_bytes:
                one.tell("disk", one.disk_bytes, one.ceiling.disk_bytes)
        if all(one.measured for one in self._watched):
            self._keep_some_free()

    def _keep_some_free(self) -> None:
        """If disk space is short after all measurements, reports the container that uses most."""
        most = max(self._watched, key=lambda one: one.disk_bytes, default=None)
        if most and _free(most.paths) < MIN_FREE_BYTES and most.disk_bytes > MIN_BLAMED_BYTES:
            most.tell("disk_full", most.disk_bytes, most.ceiling.disk_bytes)

    async def _ask(self, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Measures in our user namespace, as its root: volumes belong to subordinate uids, and agents can close
        directories."""
        running = await asyncio.create_subprocess_exec(
            "podman",
            "unshare",
            "nice",
            *entry_point.script(MEASURE),
            env=self._service.environment,
            cwd="/",
            start_new_session=True,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, errors = await running.communicate(json.dumps(wanted).encode())
        finally:
            if running.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)  # also the processes that Podman started
                await running.communicate()
        if running.returncode:
            raise OSError(errors.decode(errors="replace")[-500:])
        answers: list[dict[str, Any]] = json.loads(said)
        return answers


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
    """The processes and memory of each container, by pid. Runs in a thread, because many processes take a while."""
    found = memory_usage.of_containers(one.pid for one in watched)
    seen = {}
    for one in watched:
        if (used := found.get(one.pid)) is not None:
            one.pids = used.pids
            if one.cpus:
                cpus.confine(one.pid, one.cpus, used.pids)
            seen[one.pid] = _Seen(used.processes, _memory(one, used), memory_usage.out_of_memory_kills(one.pid))
    return seen


def _memory(one: Watched, used: memory_usage.Usage) -> int:
    """The bytes in use. The quick count may be too high, so if it exceeds the limit, an exact one follows."""
    private, shared = used.private_bytes, used.shared_bytes
    if private + shared > one.ceiling.memory_bytes:
        private, shared = memory_usage.exact(used)
    return private + max(shared, one.memory_file_bytes)


def _free(paths: Iterable[str]) -> int:
    """The free bytes of Podman's storage, where all containers write."""
    for path in paths:
        with contextlib.suppress(OSError):
            found = os.statvfs(path)
            return found.f_bavail * found.f_frsize
    return sys.maxsize
