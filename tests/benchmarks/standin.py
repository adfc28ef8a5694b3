"""The server for test suites: milliseconds a test, beside moto's server for a comparable test, and many tasks in one.

A test empties the server, creates a task, polls it to its end, and gets its file. With moto: it empties the server,
starts a build of CodeBuild, polls it to its end, and gets it. Both are asked by the same HTTP client.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import platformdirs

from agentcontainer_local.testing import Server, finish, server
from tests.benchmarks.figures import Figure, ratios

MOTO = "moto[server]==5.1.*"
PAUSE_SECONDS = 0.01  # between two polls
MANY = 1000
WARM = 200  # tasks, before memory is compared
COLD = (
    "import time; began = time.monotonic(); from agentcontainer_local.testing import server;"
    "ac = server().start(); print(time.monotonic() - began); ac.stop()"
)
SIGNED = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/codebuild/aws4_request, SignedHeaders=host, Signature=a"


def run(long: bool) -> list[Figure]:
    rounds = 200 if long else 60
    with server() as ac, _calls(ac) as client:
        processor = time.process_time()
        tests, tasks = _tests(ac, client, rounds)
        processor = (time.process_time() - processor) / len(tests) * 1000
        resets = [_ms(ac.reset) for _ in range(rounds)]
        rate, grown = _many(ac, client)
    return [
        Figure("import and first server", [_cold() for _ in range(10 if long else 4)], "s", "under 0.7"),
        Figure("another server in the same process", [_warm() for _ in range(10)], "ms"),
        Figure("from a task's creation to its end, simulated", tasks, "ms", "under 20"),
        Figure("a test, simulated", tests, "ms", "under 50"),
        Figure("processor time of a test, simulated, with its client", [processor], "ms"),
        Figure("emptying the server", resets, "ms"),
        *_beside_moto(rounds, tests),
        *_real(10 if long else 4),
        Figure(f"{MANY} simulated tasks", [rate], "tasks/s"),
        Figure(f"memory of the process, from task {WARM} to {MANY}", [grown], "MB", "flat"),
    ]


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _cold() -> float:
    return float(subprocess.run([sys.executable, "-c", COLD], check=True, capture_output=True, text=True).stdout)


def _warm() -> float:
    ac = server()
    try:
        return _ms(ac.start)
    finally:
        ac.stop()


@contextmanager
def _calls(ac: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{ac.url}/api/v1", headers={"authorization": f"Bearer {ac.key}"}) as client:
        yield client


def _tests(ac: Server, client: httpx.Client, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of whole tests, and of their tasks by the server's clock."""
    tests, tasks = [], []

    def test() -> None:
        ac.script(finish("Done", files={"report.txt": b"42"}))
        tasks.append(_task(client))
        ac.reset()

    for _ in range(rounds + 5):
        tests.append(_ms(test))
    return tests[5:], tasks[5:]


def _task(client: httpx.Client) -> float:
    """One that hands over a file; answers its milliseconds from creation to end."""
    task = client.post("/agents/agt_standard_coding/tasks", json={"instructions": "Report."}).json()
    while (task := client.get(f"/tasks/{task['id']}").json())["status"] != "finished":
        assert task["status"] in ("pending", "running"), task
        time.sleep(PAUSE_SECONDS)
    file = client.get(f"/tasks/{task['id']}/files").json()["data"][0]
    assert client.get(f"/tasks/{task['id']}/files/{file['id']}").content == b"42"
    created, completed = (datetime.fromisoformat(task[name]) for name in ("createdAt", "completedAt"))
    return (completed - created) / timedelta(milliseconds=1)


def _many(ac: Server, client: httpx.Client) -> tuple[float, float]:
    ac.script(finish("Done", files={"report.txt": b"42"}))
    resident = {}
    began = time.monotonic()
    for number in range(1, MANY + 1):
        _task(client)
        if number in (WARM, MANY):
            resident[number] = _resident_mb()
    return MANY / (time.monotonic() - began), resident[MANY] - resident[WARM]


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def _real(rounds: int) -> list[Figure]:
    try:
        with server("podman") as ac, _calls(ac) as client:
            tests, _ = _tests(ac, client, rounds)
    except RuntimeError as error:
        print(f"a test with real containers: cannot run here: {error}", file=sys.stderr)
        return []
    return [Figure("a test, with a real container and Pi", tests, "ms")]


# moto


def _beside_moto(rounds: int, ours: list[float]) -> list[Figure]:
    try:
        with _moto() as client:
            for _ in range(5):
                _build(client)
            theirs = [_ms(lambda: _build(client)) for _ in range(rounds)]
    except (OSError, subprocess.CalledProcessError, httpx.HTTPError) as error:
        print(f"moto: cannot run here: {error}", file=sys.stderr)
        return []
    return [Figure("a test, moto", theirs, "ms"), ratios("a test, simulated / moto", ours, theirs)]


@contextmanager
def _moto() -> Iterator[httpx.Client]:
    """Its server in an environment of its own."""
    folder = Path(platformdirs.user_cache_dir("agentcontainer-dev")) / "moto"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", MOTO]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [folder / "bin/moto_server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch = threading.Timer(600, process.kill)
    watch.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": SIGNED}) as client:
            _until_ready(client, process)
            yield client
    finally:
        watch.cancel()
        process.terminate()
        process.wait()


def _until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise OSError(f"moto_server ended with code {process.returncode}")
        try:
            client.get("/moto-api/data.json").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise OSError("moto_server did not answer within 60 s")


def _build(client: httpx.Client) -> None:
    client.post("/moto-api/reset").raise_for_status()
    project = {
        "name": "report",
        "source": {"type": "S3", "location": "bucket/path"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {"type": "LINUX_CONTAINER", "image": "image", "computeType": "BUILD_GENERAL1_SMALL"},
        "serviceRole": "arn:aws:iam::123456789012:role/service-role/report",
    }
    _asked(client, "CreateProject", project)
    id = _asked(client, "StartBuild", {"projectName": "report"})["build"]["id"]
    while _asked(client, "BatchGetBuilds", {"ids": [id]})["builds"][0]["buildStatus"] != "SUCCEEDED":
        time.sleep(PAUSE_SECONDS)
    assert _asked(client, "BatchGetBuilds", {"ids": [id]})["builds"][0]["id"] == id


def _asked(client: httpx.Client, action: str, body: object) -> dict:
    headers = {"x-amz-target": f"CodeBuild_20161006.{action}", "content-type": "application/x-amz-json-1.1"}
    return client.post("/", content=json.dumps(body), headers=headers).raise_for_status().json()
