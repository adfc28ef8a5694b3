"""A real server as a process, with real Podman and Pi; only the thinking is scripted."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.sandbox.podman import standard_images
from tests import fake_provider
from tests.fake_provider import FakeProvider

CLONE = Path(__file__).parents[2]
# Every server of a test is to leave nothing behind, so that what is left behind is seen.
NOTHING_KEPT = {"AGENTCONTAINER_FAILED_WORKSPACE_RETENTION_SECONDS": "0"}
# As in tests/conftest.py, for benchmarks too: those that want containers that wait say so.
NOTHING_WAITS = {"AGENTCONTAINER_WARM": "0"}
STACKS = {"PYTHONFAULTHANDLER": "1"}  # one that hangs says where, when it is aborted
WAITS, TAKEN = "a container waits for the next task", "a waiting container was taken"
SIMULATED = {"AGENTCONTAINER_BACKEND": "simulated"}
ENDED = {"finished", "failed", "cancelled", "expired"}


class Server:
    """One data directory, and the process that serves it."""

    command: tuple[str, ...] = (sys.executable, "-m", "agentcontainer_local")
    umask = -1  # ours

    def __init__(self, data: Path, **settings: str):
        self.data = data
        self.key = "ac_live_" + secrets.token_urlsafe(24)
        self.settings = settings
        self.process: subprocess.Popen | None = None
        self.log = data.parent / f"{data.name}.log"

    def start(self) -> None:
        command = [*self.command, "serve", "--port", "0", "--data", str(self.data)]
        environ = {
            **os.environ,
            **NOTHING_KEPT,
            **NOTHING_WAITS,
            **STACKS,
            "AGENTCONTAINER_API_KEY": self.key,
            **self.settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ, umask=self.umask
            )
        ready = next((line for line in self.process.stdout if "is ready at" in line), None)
        assert ready is not None, self.log.read_text()
        self.url = ready.split("is ready at ")[1].split()[0]
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=2),  # the server closes idle ones after 5 s, perhaps as one is used
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(number)
        return self.ended(60)

    def ended(self, seconds: float) -> int:
        """How it ended, once it has; one that has not in that time says in its log what it does, and is killed."""
        with self.process:  # which waits for its end without a limit
            try:
                return self.process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout=10)
                self.process.kill()
                raise AssertionError(f"it did not end in {seconds} s: {self.log.read_text()[-10_000:]}") from None

    def things(self) -> set[str]:
        """Names of this store's containers and volumes, but for those that wait for a task."""
        return self.everything() - self.waiting()

    def everything(self) -> set[str]:
        return podman_things(f"agentcontainer.store={self.row('SELECT id FROM store')['id']}")

    def waiting(self) -> set[str]:
        """Names of containers and volumes that wait for a task."""
        with contextlib.closing(sqlite3.connect(self.data / "agentcontainer.db")) as store:
            taken = tuple(name for (name,) in store.execute("SELECT name FROM slots"))
        return {name for name in self.everything() if "-slt_" in name and not (taken and name.startswith(taken))}

    def warmed(self, **overrides) -> None:
        """From here on a container waits for tasks like this one."""
        self.run("```finish\n--complete-task --message Done\n```", **overrides)
        self.until_one_waits()

    def until_one_waits(self) -> None:
        """Where all tasks so far were of one kind."""
        wait_until(lambda: self.log.read_text().count(WAITS) > self.log.read_text().count(TAKEN), 60)

    def took(self, task: dict) -> bool:
        """Whether the task was given a container that waited."""
        return f"{TAKEN} task={task['id']}" in self.log.read_text()

    def container(self, task: dict) -> str:
        """The id of a task's container."""
        name = self.row("SELECT name FROM slots WHERE task_id = ?", task["id"])["name"]
        return podman("ps", "-aq", "--no-trunc", "--filter", f"name=^{name}$").strip()

    def row(self, sql: str, *parameters) -> dict:
        """From its database, beside the server."""
        with contextlib.closing(sqlite3.connect(self.data / "agentcontainer.db")) as store:
            store.row_factory = sqlite3.Row
            return dict(store.execute(sql, parameters).fetchone())

    def execute(self, sql: str, *parameters) -> None:
        """Sets a date in its database, where a test would have to wait for it."""
        with contextlib.closing(sqlite3.connect(self.data / "agentcontainer.db", timeout=10)) as store:
            store.execute(sql, parameters)
            store.commit()

    def get(self, path: str, **query) -> dict:
        response = self.client.get(f"/api/v1{path}", params=query)
        assert response.is_success, response.text
        return response.json()

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").raise_for_status().text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def post(self, path: str, body: dict | None = None, expect: int = 201, **headers) -> dict:
        response = self.client.post(f"/api/v1{path}", json=body, headers=headers)
        assert response.status_code == expect, response.text
        return response.json()

    def dispatch(
        self, instructions: str, *, agent: str = "agt_standard_coding", files: list[str] = (), **overrides
    ) -> dict:
        body = {
            "instructions": instructions,
            "inputFileIds": list(files),
            "overrides": {"model": "scripted", "maxRuntimeSeconds": 120, **overrides},
        }
        return self.post(f"/agents/{agent}/tasks", body)

    def converse(self, message: str, *, instructions: str = "You help.", expect: int = 201, **body) -> dict:
        """A new conversation's task; `body` may hold overrides, which are added to what every test wants."""
        overrides = {"model": "scripted", "maxRuntimeSeconds": 120, **body.pop("overrides", {})}
        agent = body.pop("agent", "agt_standard_coding")
        body = {"instructions": instructions, "message": message, "overrides": overrides, **body}
        return self.post(f"/agents/{agent}/conversations", body, expect)["task"]

    def say(self, task_id: str, content: str, expect: int = 201, **body) -> dict:
        """A follow-up; answers the message."""
        return self.post(f"/conversations/{task_id}/messages", {"content": content, **body}, expect).get("message")

    def transcript(self, task_id: str) -> list[dict]:
        return self.get(f"/conversations/{task_id}/messages", order="asc", limit=1000)["data"]

    def answered(self, task_id: str, turn: int, seconds: float = 60) -> dict:
        """The answer of a turn, once that is over."""
        wait_until(lambda: self._turn_is_over(task_id, turn), seconds)
        return next(m for m in self.transcript(task_id) if m["turnNumber"] == turn and m["role"] == "assistant")

    def _turn_is_over(self, task_id: str, turn: int) -> bool:
        task = self.get(f"/tasks/{task_id}")
        assert task["status"] not in ENDED, (task["status"], task["error"], self.history(task_id))
        asked = [m for m in self.transcript(task_id) if m["turnNumber"] == turn and m["role"] == "user"]
        return bool(asked) and asked[0]["status"] in ("completed", "failed")

    def upload(self, filename: str, content: bytes) -> str:
        prepared = self.post("/uploads/prepare", {"filename": filename})
        sent = httpx.put(prepared["uploadUrl"], content=content, headers=prepared["headers"], trust_env=False)
        sent.raise_for_status()
        return self.post("/uploads/complete", {"uploadId": prepared["uploadId"]})["id"]

    def wait(self, task_id: str, *statuses: str, seconds: float = 120) -> dict:
        """The task once it has one of these statuses, or has ended."""
        deadline = time.monotonic() + seconds
        while True:
            task = self.get(f"/tasks/{task_id}")
            if task["status"] in (statuses or ENDED):
                return task
            assert task["status"] not in ENDED, (task["status"], task["error"], self.history(task_id))
            assert time.monotonic() < deadline, (task["status"], self.history(task_id), self.log.read_text()[-3000:])
            time.sleep(0.05)

    def run(self, instructions: str, **options) -> dict:
        return self.wait(self.dispatch(instructions, **options)["id"])

    def history(self, task_id: str) -> list[dict]:
        return self.get(f"/tasks/{task_id}/events", order="asc", limit=1000)["data"]

    def outputs(self, task_id: str) -> dict[str, bytes]:
        """The bytes that came out, by file name."""
        listed = self.get(f"/tasks/{task_id}/files")["data"]
        return {
            file["filename"]: self.client.get(f"/api/v1/tasks/{task_id}/files/{file['id']}").raise_for_status().content
            for file in listed
        }

    def said(self, task_id: str) -> str:
        """What the tools of a task printed, one after another."""
        events = self.history(task_id)
        return "".join(e["data"].get("output") or "" for e in events if e["event"] == "activity.completed")


@contextlib.contextmanager
def serving(data: Path, kind: type[Server] = Server, **settings: str) -> Iterator[Server]:
    """A server that is gone in the end, whatever happened, and so are its containers and volumes."""
    server = kind(data, **settings)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            try:
                for task in server.get("/tasks", limit=1000)["data"]:
                    if task["status"] not in ENDED:
                        server.post(f"/tasks/{task['id']}/cancel", expect=200)
                wait_until(lambda: not server.things(), 30)
            finally:
                server.stop()
    assert not server.everything(), "containers or volumes were left behind"


def standard_image() -> str:
    """The image that tasks of the standard coding agent use here; one has run."""
    names = [
        standard_images.tag_of("coding", base) for base in (standard_images.REGISTRY_BASE, standard_images.made_base())
    ]
    return next(name for name in names if subprocess.run(["podman", "image", "exists", name]).returncode == 0)


def podman_things(label: str = "agentcontainer.store") -> set[str]:
    """Names of every container and volume of ours in this account, or of one store."""
    containers = podman("ps", "-a", "--filter", f"label={label}", "--format", "{{.Names}}")
    volumes = podman("volume", "ls", "--filter", f"label={label}", "--format", "{{.Name}}")
    return {*containers.split(), *volumes.split()}


def podman(*words: str, tries: int = 5) -> str:
    """A list fails when something goes away while it is made: then again."""
    for _ in range(tries):
        done = subprocess.run(["podman", *words], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
    raise AssertionError(done.stderr)


def wait_until(happened, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture
def own_server(tmp_path) -> Iterator[Server]:
    """A server that a test may kill."""
    with serving(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="session")
def far_end() -> Iterator[FakeProvider]:
    """What all servers that have a provider call."""
    with fake_provider.serving() as fake:
        yield fake


@pytest.fixture
def provider(far_end: FakeProvider) -> FakeProvider:
    """As new for each test."""
    far_end.forget()
    return far_end


@pytest.fixture(scope="session")
def provided(far_end: FakeProvider, tmp_path_factory) -> Iterator[Server]:
    """The one server with a provider; a module takes it as its `server`."""
    with serving(tmp_path_factory.mktemp("provided") / "data", **far_end.environ()) as running:
        yield running


@pytest.fixture(scope="session")
def simulated(far_end: FakeProvider, tmp_path_factory) -> Iterator[Server]:
    """One whose runs are simulated: for what neither a container nor Pi decides. A run starts in milliseconds there."""
    with serving(tmp_path_factory.mktemp("simulated") / "data", **SIMULATED, **far_end.environ()) as running:
        yield running


@pytest.fixture
def own_simulated(far_end: FakeProvider, tmp_path) -> Iterator[Server]:
    with serving(tmp_path / "simulated", **SIMULATED, **far_end.environ()) as running:
        yield running


@pytest.fixture
def place(request) -> Server:
    """The server of the fixture that a parameter names: some cases of a test want a container, and others do not."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def executable(shared: Path) -> Path:
    """Made once for all workers, which takes half a minute of a processor."""
    libpython = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if not shutil.which("objcopy") or not any(Path("/usr").glob(f"lib*/*/{libpython}")):
        pytest.skip(f"objcopy or {libpython}, which PyInstaller needs, is not installed")
    file = shared / "agentcontainer"
    with (shared / "agentcontainer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            made = subprocess.run([CLONE / "dev", "binary", file], capture_output=True, text=True, timeout=900)
            assert (made.returncode, made.stdout) == (0, ""), made.stderr
    return file
