"""The server by itself: how soon it is ready, and what it takes while nothing is to be done."""

import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.figures import Figure, ratios
from tests.system.conftest import Server

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
    ]


def _bare_start() -> float:
    import subprocess

    began = time.monotonic()
    subprocess.run(PYTHON, check=True)
    return time.monotonic() - began


def _resident_mb(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split("\n")
    return next(int(line.split()[1]) for line in fields if line.startswith("VmRSS")) / 1024
