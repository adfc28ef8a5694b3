"""The server by itself: how soon it is ready, and what it takes while nothing is to be done."""

import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figures import Figure, ratios
from tests.system.conftest import Server
from tests.system.test_main_job import bash

FEW, AT_ONCE = 50, 8
HELD = {"threads": "task", "open files": "fd"}
PYTHON = [sys.executable, "-c", "import starlette, uvicorn, pydantic, aiohttp"]


def run(long: bool) -> list[Figure]:
    ready, bare, memory = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data")
        for _ in range(20 if long else 6):
            began = time.monotonic()
            server.start()
            ready.append(time.monotonic() - began)
            time.sleep(1)
            memory.append(_resident_mb(server.process.pid))
            server.stop()
            bare.append(_bare_start())
    return [
        Figure("serve to ready", ready[1:], "s", "under 1"),
        ratios("serve to ready / Python importing its libraries", ready[1:], bare[1:]),
        Figure("memory of the idle server (resident)", memory[1:], "MB", "under 90"),
        *_after_many(5000 if long else 500),
    ]


def _after_many(many: int) -> list[Figure]:
    """What the server holds after many tasks, each of which was looked at, in comparison with after a few."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", AGENTCONTAINER_BACKEND="simulated")
        server.start()
        _done(server, FEW)
        few = _held(server.process.pid)
        _done(server, many - FEW)
        after = _held(server.process.pid)
        server.stop()
    return [
        Figure(f"{what} after {many} simulated tasks / after {FEW}", [after[what] / few[what]], "x", aim)
        for what, aim in (("memory", "1.03 or less"), ("threads", None), ("open files", None))
    ]


def _done(server: Server, count: int) -> None:
    job = bash("echo hello > out.txt", finish="--complete-task --message Done out.txt")
    waiting: list[dict] = []
    for _ in range(count):
        waiting.append(server.dispatch(job))
        if len(waiting) == AT_ONCE:
            server.wait(waiting.pop(0)["id"])
    for task in waiting:
        server.wait(task["id"])


def _held(pid: int) -> dict[str, float]:
    count = {name: len(list(Path(f"/proc/{pid}/{folder}").iterdir())) for name, folder in HELD.items()}
    return {"memory": _resident_mb(pid), **count}


def _bare_start() -> float:
    import subprocess

    began = time.monotonic()
    subprocess.run(PYTHON, check=True)
    return time.monotonic() - began


def _resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split("\n")
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS")) / 1024
