"""The API against the least that the same machine needs: a bare Starlette route, a synced commit, a plain file copy.

The floor is served by the same process on the same port, and measured in the same round.
"""

import asyncio
import json
import os
import secrets
import selectors
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from agentcontainer_local import schemas
from agentcontainer_local.api import routes
from agentcontainer_local.engine.host import Host
from agentcontainer_local.http import routing
from agentcontainer_local.process.clock import Clock
from agentcontainer_local.store import accounts, db, tasks
from agentcontainer_local.store import events as history
from tests.benchmarks.figures import Figure, ratios
from tests.conftest import KEY, opened_host

AGENT = "/api/v1/agents/agt_standard_coding/tasks"
TASK = {"instructions": "Nothing to do", "overrides": {"model": "scripted"}}
HEADERS = {"Authorization": f"Bearer {KEY}"}
CONNECTIONS = 8
MANY = 100_000
PAGE = 100
BOUNDARY = secrets.token_hex(16)  # as clients make them


def run(long: bool) -> list[Figure]:
    rounds = 20 if long else 5
    with tempfile.TemporaryDirectory(dir=os.environ.get("AGENTCONTAINER_BENCH_DIR")) as folder:
        with served(Path(folder) / "one") as server:
            figures = [*_gets(server, rounds), *_creates(server, 20 * rounds), *_files(server, rounds, long)]
        with served(Path(folder) / "few", PAGE) as few, served(Path(folder) / "many", MANY) as many:
            figures += _lists(few, many, rounds)
    return figures


# What is measured


def _gets(server: "Served", rounds: int) -> list[Figure]:
    task = server.client.post(AGENT, json=TASK).json()
    server.client.put("/bare/task", json=server.client.get(f"/api/v1/tasks/{task['id']}").json())
    ours, bare = [], []
    for _ in range(10 * rounds):  # short ones in turn: what else the machine does hits both
        ours.append(server.rate(f"/api/v1/tasks/{task['id']}"))
        bare.append(server.rate("/bare/task"))
    return [
        Figure("get task", ours, "requests/s"),
        Figure("floor: bare Starlette route, the same JSON", bare, "requests/s"),
        ratios("get task / bare route", ours, bare, "0.5 or more"),
    ]


def _creates(server: "Served", rounds: int) -> list[Figure]:
    """Median against median of a round of ten: one sync of a disk is anything from fast to slow."""
    store = sqlite3.connect(server.folder / "floor.db", isolation_level=None)
    store.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)")
    ours, floor = [], []
    for _ in range(rounds):
        ours.append(server.create_seconds())
        began = time.perf_counter()
        store.execute("INSERT INTO t VALUES (?)", (secrets.token_hex(500),))
        floor.append(time.perf_counter() - began)
    store.close()
    ours, floor = ([sorted(tens)[5] for tens in zip(*[iter(times)] * 10, strict=True)] for times in (ours, floor))
    return [
        Figure("create task", [1000 * t for t in ours], "ms"),
        Figure("floor: one synced SQLite commit", [1000 * t for t in floor], "ms"),
        ratios("create task / synced commit", ours, floor, "3 or less"),
    ]


def _lists(few: "Served", many: "Served", rounds: int) -> list[Figure]:
    asked = {"of all": "/api/v1/tasks", "of an agent": AGENT, "by status": f"{AGENT}?status=finished"}
    figures = []
    for name, path in asked.items():
        times = [(few.seconds(path), many.seconds(path)) for _ in range(4 * rounds)]
        small, large = ([pair[i] for pair in times] for i in (0, 1))
        title = f"page of {PAGE} tasks {name}, {MANY} in the store / {PAGE}"
        figures.append(ratios(title, large, small, "1.5 or less"))
    small, large = zip(*((few.create_seconds(), many.create_seconds()) for _ in range(20 * rounds)), strict=True)
    figures.append(ratios(f"create task, {MANY} in the store / {PAGE}", large, small, "1.5 or less"))
    return figures


def _files(server: "Served", rounds: int, long: bool) -> list[Figure]:
    size = (1024 if long else 128) * 1024**2
    seconds: dict[str, list[float]] = {}
    with tempfile.NamedTemporaryFile(dir=server.folder) as source:
        for _ in range(size // 1024**2):
            source.write(secrets.token_bytes(1024**2))
        source.flush()
        for _ in range(rounds):
            for name, took in server.transfers(Path(source.name)).items():
                seconds.setdefault(name, []).append(took)
    speed = {name: [size / 1e6 / took for took in times] for name, times in seconds.items()}
    return [
        *(Figure(name, values, "MB/s") for name, values in speed.items()),
        ratios("upload by PUT / plain copy", speed["upload by PUT"], speed["floor: plain copy in"], "0.6 or more"),
        ratios(
            "upload by POST, multipart / plain copy",
            speed["upload by POST, multipart"],
            speed["floor: plain copy in"],
            "0.6 or more",
        ),
        ratios("download / plain copy", speed["download"], speed["floor: plain copy out"], "0.6 or more"),
    ]


class Served:
    """The server, seen by a client that costs as little as it can."""

    def __init__(self, port: int, folder: Path, pid: int):
        self.port, self.folder, self.pid = port, folder, pid
        self.kept: socket.socket | None = None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=120, trust_env=False)

    def rate(self, path: str, seconds: float = 0.3) -> float:
        """Requests a second over some connections, each with one request under way at all times."""
        asked = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        with selectors.DefaultSelector() as selector:
            waiting = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(CONNECTIONS)]
            waiting[0].sendall(asked)
            length = answer_length(waiting[0])
            missing = dict.fromkeys(waiting, length)
            for connection in waiting:
                selector.register(connection, selectors.EVENT_READ)
                connection.sendall(asked)
            answered, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                for key, _ in selector.select():
                    missing[key.fileobj] -= len(key.fileobj.recv(65536))
                    if missing[key.fileobj] == 0:
                        answered += 1
                        missing[key.fileobj] = length
                        key.fileobj.sendall(asked)
            for connection in waiting:
                connection.close()
        return answered / took

    def seconds(self, path: str) -> float:
        began = time.perf_counter()
        answer = self.client.get(path, params={"limit": PAGE} if "?" not in path else None)
        took = time.perf_counter() - began
        assert len(answer.json()["data"]) == PAGE, answer.text[:500]
        return took

    def page(self, path: str) -> None:
        assert len(self.client.get(f"{path}&limit={PAGE}").json()["data"]) == PAGE

    def cpu_seconds(self) -> float:
        """Of all its threads, since it was started."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def create_seconds(self) -> float:
        """Of one task, over a connection that is kept."""
        self.kept = self.kept or socket.create_connection(("127.0.0.1", self.port))
        body = json.dumps(TASK)
        asked = (
            f"POST {AGENT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        began = time.perf_counter()
        self.kept.sendall(asked)
        answer_length(self.kept)
        return time.perf_counter() - began

    def transfers(self, source: Path) -> dict[str, float]:
        prepare = lambda: self.client.post("/api/v1/uploads/prepare", json={"filename": "x"}).json()  # noqa: E731
        put, post = prepare(), prepare()
        times = {
            "upload by PUT": self._send("PUT", put["uploadUrl"], source),
            "upload by POST, multipart": self._send("POST", post["uploadUrl"], source, parted=True),
            "floor: plain copy in": self._send("PUT", "/bare/file", source),
            "floor: plain copy out": self._fetch("/bare/file"),
        }
        for upload in (put, post):
            file = self.client.post("/api/v1/uploads/complete", json={"uploadId": upload["uploadId"]}).json()
            times["download"] = self._fetch(f"/api/v1/files/{file['id']}/content")
            self.client.delete(f"/api/v1/files/{file['id']}").raise_for_status()
        return times

    def _send(self, verb: str, url: str, source: Path, parted: bool = False) -> float:
        path = url.partition(f":{self.port}")[2] or url
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' if parted else ""
        tail = f"\r\n--{BOUNDARY}--\r\n" if parted else ""
        media = f"multipart/form-data; boundary={BOUNDARY}" if parted else "application/octet-stream"
        size = source.stat().st_size + len(head) + len(tail)
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as connection, source.open("rb") as file:
            connection.sendall(
                f"{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: {media}\r\n"
                f"Content-Length: {size}\r\nConnection: close\r\n\r\n{head}".encode()
            )
            connection.sendfile(file)
            connection.sendall(tail.encode())
            answer = connection.recv(65536)
        assert b" 200 " in answer[:20], answer
        return time.perf_counter() - began

    def _fetch(self, path: str) -> float:
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n".encode()
            )
            buffer = memoryview(bytearray(1024**2))
            while connection.recv_into(buffer):
                pass
        return time.perf_counter() - began


def answer_length(connection: socket.socket) -> int:
    """Of one whole answer, which is then the length of all of them."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"200", b"201"), answer
    length = len(head) + 4 + int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(answer) < length:
        answer += connection.recv(65536)
    return length


# What serves it


@contextmanager
def served(folder: Path, tasks: int = 0) -> Iterator[Served]:
    """A server with so many ended tasks, in a process of its own."""
    folder.mkdir()
    command = [sys.executable, "-m", "tests.benchmarks.api", str(folder), str(tasks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        try:
            server = Served(int(process.stdout.readline()), folder, process.pid)
            yield server
            server.client.close()
            if server.kept:
                server.kept.close()
        finally:
            process.terminate()


def main(folder: Path, count: int) -> None:
    host = opened_host(folder, Clock())
    host.db.serve()  # as a server's start does
    db.lengthen_log(host.db)
    object.__setattr__(host.settings, "max_pending", 10**9)
    if count:
        _fill(host, count)
    api, bare = routing.app(host, routes.ALL), _bare(folder / "copy", host)

    async def both(scope, receive, send) -> None:
        await (bare if scope["path"].startswith("/bare/") else api)(scope, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(both, lifespan="off", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])


def _bare(copy: Path, host: Host) -> Starlette:
    """Routes that do nothing else, and some that fill the store."""
    kept = {}

    async def task(request: Request) -> Response:
        if request.method == "PUT":
            kept.update(json.loads(await request.body()))
        return JSONResponse(kept)

    async def file(request: Request) -> Response:
        if request.method == "GET":
            return FileResponse(copy)
        with copy.open("wb") as written:
            async for chunk in request.stream():
                written.write(chunk)
        return Response()

    async def events(request: Request) -> Response:
        """Of a task, in transactions of ten, as guests report them."""
        for first in range(0, int(request.query_params["count"]), 10):
            with host.db.atomic(survives_power_loss=False):
                for number in range(first, first + 10):
                    said = {"kind": "retrying", "attempt": number, "message": "The provider is overloaded."}
                    history.append(host.db, request.path_params["id"], history.NOTICE, said, host.now())
            await asyncio.sleep(0)
        return Response()

    async def pending(request: Request) -> Response:
        _copy(host, row_of(host, "SELECT * FROM tasks ORDER BY number DESC"), int(request.query_params["count"]))
        return Response()

    async def running(request: Request) -> Response:
        for id in await request.json():
            tasks.apply(host.db, id, "started", host.now())
        return Response()

    return Starlette(
        routes=[
            Route("/bare/events/{id}", events, methods=["POST"]),
            Route("/bare/pending", pending, methods=["POST"]),
            Route("/bare/running", running, methods=["POST"]),
            Route("/bare/task", task, methods=["GET", "PUT"]),
            Route("/bare/file", file, methods=["GET", "PUT"]),
        ]
    )


def _fill(host: Host, count: int) -> None:
    """Copies of one finished task, as many as that."""
    body = schemas.CreateTaskRequest(**TASK)
    first = tasks.dispatch(host.context, accounts.only(host.db), "agt_standard_coding", body)
    tasks.apply(host.db, first["id"], "started", host.now())
    tasks.apply(host.db, first["id"], "finished", host.now(), result="Done", completion="complete")
    _copy(host, row_of(host, "SELECT * FROM tasks WHERE id = ?", first["id"]), count - 1)


def row_of(host: Host, sql: str, *parameters: str) -> dict:
    row = db.single(host.db, sql, parameters)
    del row["number"]
    return row


def _copy(host: Host, row: dict, count: int) -> None:
    with host.db.atomic():
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        copies = ({**row, "id": host.db.ids.new("tsk")} for _ in range(count))
        host.db.conn.executemany(f"INSERT INTO tasks ({names}) VALUES ({marks})", copies)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
