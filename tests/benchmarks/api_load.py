"""The API when much is asked of it at once: creates beside reads, pages, streams, and ten thousand tasks that wait."""

import json
import os
import secrets
import selectors
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks.api import AGENT, KEY, PAGE, TASK, Served, answer_length, served
from tests.benchmarks.figures import Figure, ratios

AT_ONCE = (1, 8, 32)
PENDING = 10_000
STREAMS, EVENTS = 200, 1000
SECONDS = 0.5


def run(long: bool) -> list[Figure]:
    rounds = 20 if long else 6
    with tempfile.TemporaryDirectory(dir=os.environ.get("AGENTCONTAINER_BENCH_DIR")) as folder:
        with served(Path(folder) / "ended", PAGE) as server:
            figures = [*_ended(server, rounds), *_creates(server, rounds), *_streams(server, max(2, rounds // 3))]
        with served(Path(folder) / "pending") as server:
            figures += _pending(server, rounds)
    return figures


def _ended(server: Served, rounds: int) -> list[Figure]:
    """An ended task, and a page of them, in turn with a bare route that answers the same JSON as the task."""
    page = server.client.get("/api/v1/tasks", params={"limit": PAGE}).json()
    id = page["data"][0]["id"]
    server.client.put("/bare/task", json=page["data"][0])
    paths = {"task": f"/api/v1/tasks/{id}", "page": f"/api/v1/tasks?limit={PAGE}", "bare": "/bare/task"}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    cpu: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(4 * rounds):
        for name, path in paths.items():
            before = server.cpu_seconds()
            rates[name].append(server.rate(path))
            cpu[name].append((server.cpu_seconds() - before) / rates[name][-1])
    return [
        Figure("get ended task", rates["task"], "requests/s"),
        ratios("get ended task / bare route", rates["task"], rates["bare"], "1 or more"),
        ratios("the same by the server's CPU", cpu["bare"], cpu["task"], "1 or more"),
        Figure(f"page of {PAGE} ended tasks", rates["page"], "requests/s"),
        ratios(f"page of {PAGE} ended tasks / bare route", rates["page"], rates["bare"], "0.3 or more"),
        ratios("the same by the server's CPU", cpu["bare"], cpu["page"], "0.3 or more"),
    ]


def _creates(server: Served, rounds: int) -> list[Figure]:
    id = server.client.get("/api/v1/tasks", params={"limit": 1}).json()["data"][0]["id"]
    store = sqlite3.connect(server.folder / "floor.db", isolation_level=None)
    store.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)")
    figures = []
    for at_once in AT_ONCE:
        ours, floor, reads = [], [], []
        for _ in range(rounds):
            rate, gets = _create_rate(server, at_once, f"/api/v1/tasks/{id}")
            ours.append(rate)
            reads += gets
            floor.append(_commit_rate(store))
        name = f"creates, {at_once} at once"
        figures += [
            Figure(name, ours, "tasks/s"),
            ratios(f"{name} / one synced commit at a time", ours, floor, "0.7 or more" if at_once == 8 else None),
            Figure(
                "get task meanwhile, p99",
                [1000 * sorted(reads)[int(len(reads) * 0.99) - 1]],
                "ms",
                "15 or less" if at_once == 8 else None,
            ),
        ]
    store.close()
    return figures


def _commit_rate(store: sqlite3.Connection) -> float:
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < SECONDS:
        store.execute("INSERT INTO t VALUES (?)", (secrets.token_hex(500),))
        done += 1
    return done / took


def _create_rate(server: Served, at_once: int, path: str) -> tuple[float, list[float]]:
    """Tasks a second over so many connections, and how long each read took on one more, in seconds."""
    body = json.dumps(TASK)
    head = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n"
    create = (
        f"POST {AGENT} HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    read = f"GET {path} HTTP/1.1\r\n{head}\r\n"
    created, gets, since = 0, [], {}
    with selectors.DefaultSelector() as selector:
        for asked in [create] * at_once + [read]:
            connection = socket.create_connection(("127.0.0.1", server.port))
            selector.register(connection, selectors.EVENT_READ, asked.encode())
            since[connection] = time.perf_counter()
            connection.sendall(asked.encode())
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < SECONDS:
            for key, _ in selector.select():
                answer_length(key.fileobj)
                now = time.perf_counter()
                if key.data.startswith(b"GET"):
                    gets.append(now - since[key.fileobj])
                created += key.data.startswith(b"POST")
                since[key.fileobj] = time.perf_counter()
                key.fileobj.sendall(key.data)
        for connection in since:
            connection.close()
    return created / took, gets


def _streams(server: Served, rounds: int) -> list[Figure]:
    """Events of one task to many streams: what the server's processor needs for each delivery."""
    needed = []
    for _ in range(rounds):
        task = server.client.post(AGENT, json=TASK).json()["id"]
        path = f"/api/v1/tasks/{task}/events?stream=true"
        streams = list(_opened(server, path))
        before = server.cpu_seconds()
        server.client.post(f"/bare/events/{task}", params={"count": EVENTS}).raise_for_status()
        _read_all(streams)
        needed.append(1e6 * (server.cpu_seconds() - before) / (STREAMS * EVENTS))
        for stream in streams:
            stream.close()
    return [Figure(f"{STREAMS} streams of {EVENTS} events: a delivery's CPU", needed, "µs", "3 or less")]


def _opened(server: Served, path: str) -> Iterator[socket.socket]:
    for _ in range(STREAMS):
        stream = socket.create_connection(("127.0.0.1", server.port))
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        heard = b""
        while b"event: message.created" not in heard:
            heard += stream.recv(65536)
        yield stream


def _read_all(streams: list[socket.socket]) -> None:
    missing = dict.fromkeys(streams, EVENTS)
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ, bytearray())
        while any(missing.values()):
            ready = selector.select(60)
            assert ready, f"{sum(missing.values())} events did not come"
            for key, _ in ready:
                key.data.extend(key.fileobj.recv(1024**2))
                lines = key.data.rfind(b"\n") + 1
                missing[key.fileobj] -= key.data.count(b"event: notice\n", 0, lines)
                del key.data[:lines]


def _pending(server: Served, rounds: int) -> list[Figure]:
    """The server's CPU for the first tasks that wait, and for those that come when ten thousand do."""
    server.create_seconds()
    few = [_cpu(server, server.create_seconds) for _ in range(rounds)]
    server.client.post("/bare/pending", params={"count": PENDING}).raise_for_status()
    many = [_cpu(server, server.create_seconds) for _ in range(rounds)]
    longest, shortest = "/api/v1/tasks?status=pending&order=asc", "/api/v1/tasks?status=pending"
    pages = {
        path: [_cpu(server, lambda path=path: server.page(path)) for _ in range(rounds)] for path in (longest, shortest)
    }
    ids = [task["id"] for task in server.client.get("/api/v1/tasks", params={"limit": PAGE}).json()["data"]]
    server.client.post("/bare/running", json=ids).raise_for_status()
    running = [_cpu(server, lambda: server.page("/api/v1/tasks?status=running")) for _ in range(rounds)]
    return [
        Figure("create task: CPU", [1000 * cpu for cpu in few], "ms"),
        ratios(f"create task, {PENDING} pending / none: CPU", many, few, "1.1 or less"),
        Figure(f"page of {PAGE} running tasks: CPU", [1000 * cpu for cpu in running], "ms"),
        ratios(f"page of {PAGE} that wait longest, {PENDING} pending / of running ones: CPU", pages[longest], running),
        ratios(
            f"page of {PAGE} that wait shortest, {PENDING} pending / of running ones: CPU", pages[shortest], running
        ),
    ]


def _cpu(server: Served, ask: Callable[[], object]) -> float:
    before = server.cpu_seconds()
    for _ in range(10):
        ask()
    return (server.cpu_seconds() - before) / 10
