"""Many tasks at once: whether all finish, in order, and what the server itself needs for each.

The server's CPU is its own, whatever else runs on the machine; the makespan is not.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.system.conftest import Server, serving
from tests.system.test_main_job import bash

COUNTS = (20, 50)
MAX_RUNNING = 4


def run(long: bool) -> list[Figure]:
    figures = []
    settings = {"AGENTCONTAINER_MAX_RUNNING": str(MAX_RUNNING)}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", **settings) as server:
        server.wait(server.dispatch(bash("true"))["id"], seconds=300)  # images and caches are there
        for count in COUNTS:
            figures += _burst(server, count)
    return figures


def _burst(server: Server, count: int) -> list[Figure]:
    began, before = time.monotonic(), _cpu_seconds(server.process.pid)
    job = bash("echo hello > out.txt", finish="--complete-task --message Done out.txt")
    tasks = [server.dispatch(job) for _ in range(count)]
    with _reading(server, tasks[-1]["id"]) as reads:
        for task in reversed(tasks):  # the last one first: who waits asks seldom
            server.wait(task["id"], seconds=900)
    seconds, cpu = time.monotonic() - began, _cpu_seconds(server.process.pid) - before
    ended = [server.get(f"/tasks/{task['id']}") for task in tasks]
    starts = [task["startedAt"] for task in ended]
    swapped = sum(one > next for one, next in zip(starts, starts[1:], strict=False))
    reads.sort()
    name = f"{count} tasks at once"
    return [
        Figure(f"{name}: finished", [sum(task["status"] == "finished" for task in ended)], "tasks", str(count)),
        Figure(f"{name}: started after the next one", [swapped], "tasks"),
        Figure(f"{name}: makespan", [seconds], "s"),
        Figure(f"{name}: the server's CPU for each", [1000 * cpu / count], "ms", "60 or less"),
        Figure(f"{name}: get task meanwhile, p99", [1000 * reads[int(0.99 * len(reads)) - 1]], "ms", "25 or less"),
    ]


@contextlib.contextmanager
def _reading(server: Server, task_id: str) -> Iterator[list[float]]:
    """How long it takes to read a task, twenty times a second, in seconds."""
    took: list[float] = []
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.05):
            began = time.perf_counter()
            server.get(f"/tasks/{task_id}")
            took.append(time.perf_counter() - began)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield took
    finally:
        over.set()
        reader.join()


def _cpu_seconds(pid: int) -> float:
    """Of all threads that it has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
