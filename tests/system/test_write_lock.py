"""Another program, such as a forgotten sqlite3 shell, holds the database's write lock: only writes wait for it."""

import contextlib
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator

from tests.system.conftest import Server, wait_until
from tests.system.test_main_job import bash

SECONDS = 8
AT_ONCE = 1.0  # on a busy machine; with the lock awaited it would be seconds


@contextlib.contextmanager
def locked(server: Server) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(server.data / "agentcontainer.db", isolation_level=None)) as shell:
        shell.execute("PRAGMA busy_timeout=10000")
        shell.execute("BEGIN IMMEDIATE")
        yield
        shell.execute("ROLLBACK")


def test_while_the_write_lock_is_held_reads_go_on_and_writes_wait(own_server: Server):
    server, answers = own_server, []
    busy = server.dispatch(bash(*["echo step; sleep 0.5"] * 8, finish="--complete-task --message Done"))
    talk = server.converse("Hello")
    server.answered(talk["id"], 1)
    wait_until(lambda: "step" in server.said(busy["id"]), 30)

    def write() -> None:
        began = time.monotonic()
        upload = server.upload("a.txt", b"content")
        task = server.dispatch(bash("cat task_files/a.txt", finish="--complete-task --message Done"), files=[upload])
        server.say(talk["id"], bash("echo and this"))
        answers.append((task, time.monotonic() - began))

    with locked(server):
        writing = threading.Thread(target=write)
        writing.start()
        slowest, until = 0.0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            for path in ("/healthz", f"/api/v1/tasks/{busy['id']}", "/api/v1/agents", "/api/v1/tasks"):
                began = time.monotonic()
                assert server.client.get(path).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
        ready = server.client.get("/readyz")
        assert ready.status_code == 503 and "lock" in ready.text
        assert not answers
    writing.join()
    ((task, seconds),) = answers
    assert slowest < AT_ONCE and seconds > SECONDS - 1
    assert server.wait(busy["id"])["status"] == "finished"
    assert server.said(busy["id"]).count("step\n") == 8
    assert server.wait(task["id"])["status"] == "finished" and "content" in server.said(task["id"])
    assert server.answered(talk["id"], 2)["content"].strip() == "and this"
    assert server.client.get("/readyz").text == "ok\n"


def test_a_server_that_starts_while_the_write_lock_is_held_says_so(own_server: Server):
    own_server.stop()
    with locked(own_server):
        words = [*own_server.command, "serve", "--port", "0", "--data", str(own_server.data)]
        refused = subprocess.run(words, capture_output=True, text=True)
    assert refused.returncode == 1 and "locked" in refused.stderr and "Traceback" not in refused.stderr
    own_server.start()
