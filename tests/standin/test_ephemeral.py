"""`agentcontainer serve --ephemeral`, as a suite in another language starts it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

SERVE = [sys.executable, "-m", "agentcontainer_local", "serve", "--ephemeral"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, "TMPDIR": str(tmp_path), "AGENTCONTAINER_DATA": str(tmp_path / "mine")}
    with subprocess.Popen(SERVE, env=environ, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_leaves_nothing(server, tmp_path: Path, number: int):
    said = json.loads(server.stdout.readline())
    assert set(said) == {"url", "key"}
    with httpx.Client(base_url=said["url"], headers={"authorization": f"Bearer {said['key']}"}) as client:
        body = {"instructions": "Go.", "overrides": {"model": "scripted"}}
        assert client.post("/api/v1/agents/agt_standard_coding/tasks", json=body).status_code == 201
        assert client.post("/testing/reset").status_code == 204
    server.send_signal(number)
    assert server.wait(20) == 0
    assert server.stdout.read() == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--data", "--port", "--host"])
def test_what_it_chooses_cannot_be_given(flag: str):
    done = subprocess.run([*SERVE, flag, "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and flag in done.stderr
