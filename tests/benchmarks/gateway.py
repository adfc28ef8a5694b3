"""The gateway against going direct to the same provider, and beside a LiteLLM proxy, each a process of its own.

The gateway has a store and a budget in USD in force. Rounds of all three are taken in turn, so that a machine whose
speed drifts does not spoil the comparison; on few cores, what the gateway takes from the others counts against it.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from agentcontainer_local import schemas
from agentcontainer_local.store import accounts, tasks
from tests.benchmarks.figures import Figure, ratios
from tests.unit.gateway.purse import opened

LITELLM = "litellm[proxy]"
MODELS = ("first", "bulk", "events", "paced")
PRICE = {"input": 0.001, "output": 0.001, "cacheRead": 0, "cacheWrite": 0}
STREAMS = 20
PAUSE_SECONDS, EVENTS = 0.02, 75

Way = tuple[int, bytes, dict[str, bytes]]  # a port, a path, and headers by model


def run(long: bool) -> list[Figure]:
    rounds = 10 if long else 4
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(_provider(64 if long else 24))
        ways = {"direct": (provider, b"/v1/chat/completions", dict.fromkeys(MODELS, b""))}
        ways["ours"] = stack.enter_context(_gateway(folder, provider))
        if (program := _litellm_program()) is not None:
            ways["LiteLLM"] = stack.enter_context(_litellm(program, folder, provider))
        return [*_first_bytes(ways, rounds), *_bulk(ways, rounds), *_streams(ways, rounds)]


# What is measured


def _first_bytes(ways: dict[str, Way], rounds: int) -> list[Figure]:
    figures = []
    for size, about in ((1_000, "1 kB"), (200_000, "200 kB")):
        taken = _in_turn(
            ways, rounds, lambda way, size=size: statistics.median(_first_byte(way, size) for _ in range(30))
        )
        for name in list(ways)[1:]:
            added = [1000 * (a - b) for a, b in zip(taken[name], taken["direct"], strict=True)]
            aim = "2 or less" if name == "ours" else None
            figures.append(Figure(f"first byte added by {name}, prompt of {about}", added, "ms", aim))
    return figures


def _bulk(ways: dict[str, Way], rounds: int) -> list[Figure]:
    """One answer as fast as the provider can: event by event, as a model writes, and in pieces as large as may be."""
    figures = []
    for model, about in (("events", "event by event"), ("bulk", "in large pieces")):
        taken = _in_turn(ways, rounds, lambda way, model=model: _megabytes_a_second(way, model))
        figures.append(Figure(f"an answer {about}, direct", taken["direct"], "MB/s"))
        figures += [
            ratios(
                f"an answer {about}, {name} / direct",
                taken[name],
                taken["direct"],
                "0.8 or more" if name == "ours" else None,
            )
            for name in list(ways)[1:]
        ]
    return figures


def _streams(ways: dict[str, Way], rounds: int) -> list[Figure]:
    """How late the 99th of 100 events is, of a model that writes 50 a second."""
    figures = []
    for name, way in ways.items():
        alone = [1000 * _lateness(way, 1) for _ in range(rounds)]
        together = [1000 * _lateness(way, STREAMS) for _ in range(rounds)]
        figures += [
            Figure(f"99 % of events are this late, {name}, one stream", alone, "ms"),
            Figure(f"99 % of events are this late, {name}, {STREAMS} at once", together, "ms"),
        ]
    return figures


def _in_turn(ways: dict[str, Way], rounds: int, measure: Callable[[Way], float]) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        measure(way)  # warm
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(measure(way))
    return taken


# A client that takes as little as can be


def _request(way: Way, model: str, size: int = 1000) -> bytes:
    _, path, headers = way
    text = ("The quick brown fox jumps over the lazy dog.\n" * (size // 45 + 1))[:size]
    messages = [{"role": "user", "content": text[at : at + 5000]} for at in range(0, size, 5000)]
    body = json.dumps(
        {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 1000,
            "messages": messages,
        }
    ).encode()
    head = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (path, headers[model], len(body)) + body


def _first_byte(way: Way, size: int) -> float:
    request = _request(way, "first", size)
    with _kept(way[0]) as connection:
        began = time.perf_counter()
        connection.sendall(request)
        answer = b""
        while b"data:" not in answer:
            answer += _some(connection)
        taken = time.perf_counter() - began
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += _some(connection)
        return taken


def _megabytes_a_second(way: Way, model: str) -> float:
    with _kept(way[0]) as connection:
        began, size, end = time.perf_counter(), 0, b""
        connection.sendall(_request(way, model))
        while not end.endswith(b"\r\n0\r\n\r\n"):
            data = _some(connection)
            size, end = size + len(data), (end + data)[-16:]
        return size / 1e6 / (time.perf_counter() - began)


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    if not data:
        raise ConnectionError("the answer was cut")
    return data


_connections: dict[int, socket.socket] = {}


@contextlib.contextmanager
def _kept(port: int) -> Iterator[socket.socket]:
    """The same connection for each request."""
    if port not in _connections:
        _connections[port] = socket.create_connection(("127.0.0.1", port))
        _connections[port].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _connections[port].settimeout(120)
    yield _connections[port]


def _lateness(way: Way, streams: int) -> float:
    """Seconds; each event carries the time at which the provider sent it."""
    late = asyncio.run(_all_late(way, streams))
    return sorted(late)[int(len(late) * 0.99)]


async def _all_late(way: Way, streams: int) -> list[float]:
    return [late for each in await asyncio.gather(*(_late(way) for _ in range(streams))) for late in each]


async def _late(way: Way) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", way[0])
    writer.write(_request(way, "paced"))
    late = []
    async for line in reader:
        if b'"at ' in line:
            late.append((time.monotonic_ns() - int(line.split(b'"at ')[1].split(b'"')[0])) / 1e9)
        elif line.strip() == b"data: [DONE]":
            break
    writer.close()
    return late


# The three that are measured


def _event(text: str) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"role": "assistant", "content": text}
    chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": None}]
    return b"data: %s\n\n" % json.dumps(chunk).encode()


def _last_events() -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    ended = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {**chunk, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}}
    return b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in (ended, usage)) + b"data: [DONE]\n\n"


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _answer(megabytes: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    last = _chunk(_last_events()) + b"0\r\n\r\n"
    page = _chunk(_event("x" * 100) * 80)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"content-length:" not in head.lower():  # LiteLLM looks around
                break
            body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            writer.write(HEAD)
            if b'"first"' in body:
                writer.write(_chunk(_event("x")))
            elif b'"bulk"' in body or b'"events"' in body:
                piece = page if b'"bulk"' in body else _chunk(_event("x" * 100))
                for _ in range(megabytes * (1_000_000 if piece is page else 100_000) // len(piece)):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)  # each is sent by itself
            else:
                for _ in range(EVENTS):
                    writer.write(_chunk(_event(f"at {time.monotonic_ns()}")))
                    await asyncio.sleep(PAUSE_SECONDS)
            writer.write(last)
    writer.close()


async def _serve_provider(megabytes: int) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: _answer(megabytes, reader, writer), "127.0.0.1", 0, limit=1 << 20
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def _process(*command: str, **options) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(command, **{"stdout": subprocess.DEVNULL, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _provider(megabytes: int) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.benchmarks.gateway", str(megabytes)]
    with _process(*command, stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline())


@contextlib.contextmanager
def _gateway(folder: Path, provider: int) -> Iterator[Way]:
    data = folder / "data"
    data.mkdir()
    urls = {"openai": f"http://127.0.0.1:{provider}/v1"}
    table = {"asOf": "2026-01-01", "models": {"openai": dict.fromkeys(MODELS, PRICE)}}
    (data / "prices.json").write_text(json.dumps(table))
    (data / "providers.json").write_text(json.dumps(urls))
    host = opened(data, urls)
    account, task_of = accounts.only(host.db), {}
    for model in MODELS:
        overrides = {"provider": "openai", "model": model, "maxCostUsd": 1000}
        body = schemas.CreateTaskRequest.model_validate({"instructions": "x", "overrides": overrides})
        task_of[model] = tasks.dispatch(host.context, account, "agt_standard_data", body)["id"]
    host.db.close()
    port = _free_port()
    with _process(sys.executable, "-m", "tests.unit.gateway.purse", str(data), str(port)):
        _up(port, 60)
        yield (
            port,
            b"/openai/v1/chat/completions",
            {model: b"x-task: %s\r\n" % id.encode() for model, id in task_of.items()},
        )


@contextlib.contextmanager
def _litellm(program: Path, folder: Path, provider: int) -> Iterator[Way]:
    config = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"http://127.0.0.1:{provider}/v1",
                    "api_key": "k",
                },
            }
            for model in MODELS
        ],
        "litellm_settings": {"telemetry": False},
    }
    (folder / "litellm.yaml").write_text(json.dumps(config))  # which is YAML too
    port = _free_port()
    key = "sk-" + secrets.token_hex(32)
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": key}
    command = [str(program), "--config", str(folder / "litellm.yaml"), "--port", str(port), "--host", "127.0.0.1"]
    with _process(*command, env=environ, stderr=subprocess.DEVNULL, cwd=folder) as process:
        _up(port, 180, process)
        yield port, b"/v1/chat/completions", dict.fromkeys(MODELS, f"authorization: Bearer {key}\r\n".encode())


def _litellm_program() -> Path | None:
    """From the package index, into a virtual environment of its own; None where that does not work."""
    home = Path(os.environ.get("AC_BENCH_LITELLM") or platformdirs.user_cache_path("agentcontainer-bench") / "litellm")
    program = home / "bin" / "litellm"
    if not program.exists():
        print(f"bench: installing {LITELLM} into {home}", file=sys.stderr, flush=True)
        venv.create(home, with_pip=True, clear=True)
        done = subprocess.run([home / "bin" / "pip", "install", "--quiet", LITELLM], capture_output=True, check=False)
        if done.returncode:
            print(f"bench: {LITELLM} does not install here, so it is left out", file=sys.stderr, flush=True)
            return None
    return program


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _up(port: int, seconds: float, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("it did not come up")


if __name__ == "__main__":
    asyncio.run(_serve_provider(int(sys.argv[1])))
