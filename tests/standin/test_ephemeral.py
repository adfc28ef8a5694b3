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


def test_with_a_seed_ids_and_dates_are_the_same():
    seen = []
    for _ in range(2):
        with subprocess.Popen([*SERVE, "--seed", "7"], stdout=subprocess.PIPE, text=True) as process:
            said = json.loads(process.stdout.readline())
            with httpx.Client(base_url=said["url"], headers={"authorization": f"Bearer {said['key']}"}) as client:
                body = {"instructions": "Go.", "overrides": {"model": "scripted"}}
                seen.append(client.post("/api/v1/agents/agt_standard_coding/tasks", json=body).content)
                seen.append(client.post("/testing/clock/advance", json={"by": "1d"}).content)
            process.terminate()
    assert seen[:2] == seen[2:] and seen[1] == b'{"now":"2026-01-02T00:00:00.000Z"}'


@pytest.mark.parametrize(
    "flags", [["serve", "--seed", "1"], ["serve", "--ephemeral", "--backend", "podman", "--seed", "1"]]
)
def test_a_seed_is_for_a_simulated_server_for_tests(flags: list[str]):
    done = subprocess.run([*SERVE[:3], *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "seed" in done.stderr


@pytest.mark.parametrize("flag", ["--data", "--port", "--host"])
def test_what_it_chooses_cannot_be_given(flag: str):
    done = subprocess.run([*SERVE, flag, "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and flag in done.stderr
