"""Conversations, hibernation, streams, restarts: each against what this machine needs without us, or does cold."""

import json
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import api, cold_start
from tests.benchmarks.cold_start import MODEL, Watched
from tests.benchmarks.figures import Figure, ratios
from tests.fake_provider import Answers, bash
from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash as script

TASKS = 20
MEASURED_SECONDS = 12


def run(long: bool) -> list[Figure]:
    rounds = 20 if long else 6
    with cold_start._watched() as provider, tempfile.TemporaryDirectory() as folder:
        settings = {"AGENTCONTAINER_MAX_RUNNING": str(TASKS + 2), **provider.environ()}
        with serving(Path(folder) / "data", **settings) as server:
            cold_start._first_request_of_a_task(server, provider)
            return [
                *_messages(server, provider, Path(folder), rounds),
                *_wakes(server, provider, rounds),
                *_streams(server),
                *_restart(server),
            ]


def _messages(server: Server, provider: Watched, folder: Path, rounds: int) -> list[Figure]:
    task = server.converse("Hello", overrides={"model": MODEL, "provider": "anthropic"})
    server.answered(task["id"], 1)
    ours, pi = [], []
    url, body = server.client.base_url, json.dumps({"content": "And now?"})
    said = (
        f"POST /api/v1/conversations/{task['id']}/messages HTTP/1.1\r\nHost: {url.host}\r\n"
        f"Authorization: Bearer {server.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    with _living_pi(provider, folder) as ask, socket.create_connection((url.host, url.port)) as connection:
        ask()
        for turn in range(2, rounds + 2):
            began = _fresh(provider)
            connection.sendall(said)  # what a comfortable client does beside it is not ours
            ours.append(cold_start.first_request(provider) - began)
            api.answer_length(connection)
            server.answered(task["id"], turn)
            pi.append(ask())
    server.post(f"/tasks/{task['id']}/cancel", expect=200)
    return [
        Figure("message to first model request, container alive", [1000 * t for t in ours], "ms"),
        Figure("Pi alone: prompt to first model request", [1000 * t for t in pi], "ms"),
        ratios("message / Pi alone", ours, pi, "1.2 or less"),
    ]


class _living_pi:
    """Pi on the host, in the midst of its session; a function that prompts it and answers how long its request took."""

    def __init__(self, provider: Watched, folder: Path):
        self.provider, self.folder = provider, folder

    def __enter__(self):
        command, environ = cold_start._pi(self.provider, self.folder)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=self.folder
        )
        return self.ask

    def ask(self) -> float:
        began = _fresh(self.provider)
        self.process.stdin.write(b'{"type":"prompt","message":"And now?"}\n')
        self.process.stdin.flush()
        while b'"agent_settled"' not in self.process.stdout.readline():
            pass
        return self.provider.times[0] - began

    def __exit__(self, *_):
        with self.process:
            self.process.stdin.close()


def _fresh(provider: Watched) -> float:
    provider.times.clear()
    return time.monotonic()


def _wakes(server: Server, provider: Watched, rounds: int) -> list[Figure]:
    wakes, cold = [], []
    for _ in range(rounds):
        cold.append(cold_start._first_request_of_a_task(server, provider))
        provider.forget()
        provider.plan(Answers(calls=(("hibernate", {"for": "1h"}),)), bash('finish --complete-task --message "Done"'))
        task = server.dispatch("Sleep", model=MODEL, provider="anthropic")
        server.wait(task["id"], "hibernating")
        time.sleep(1)
        began = _fresh(provider)
        server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake"}, 200)
        wakes.append(cold_start.first_request(provider) - began)
        server.wait(task["id"])
        time.sleep(0.5)
    return [
        Figure("wake to first model request", [1000 * t for t in wakes], "ms"),
        Figure("cold start to first model request", [1000 * t for t in cold], "ms"),
        ratios("wake / cold start", wakes, cold, "1 or less"),
    ]


# What an agent says of itself at its door, twice a second, with the time: Pi has no part in it.
SAYING = """
const http = require("http");
let seq = 1000;
const say = () => {
  const event = { type: "retrying", message: String(performance.timeOrigin + performance.now()) };
  const body = JSON.stringify({ seq: seq++, at: 0, event });
  http.request({ socketPath: "/run/agentcontainer/host.sock", method: "POST", path: "/guest/events" }).end(body);
};
setTimeout(() => setInterval(say, 500), 500 * Math.random());
"""


def _streams(server: Server) -> list[Figure]:
    """From the guest, through the store, to the client; and all that lies between a command's end and its event."""
    said = _delays(
        server,
        [f"cat > say.js <<'END'\n{SAYING}\nEND\n/opt/agentcontainer/libexec/node say.js"],
        lambda data: data.get("kind") == "retrying" and float(data["message"]) / 1000,
    )
    ended = _delays(server, ["date +%s%N; sleep 1"] * 60, _printed)
    p99 = sorted(said)[int(len(said) * 0.99) - 1]
    return [
        Figure(f"event in the guest to the client, {TASKS} tasks", said, "ms"),
        Figure("the same, p99", [p99], "ms", "25 or less"),
        Figure("end of a command to its event at the client, with Pi's own work on it", ended, "ms"),
    ]


def _printed(data: dict) -> float | None:
    """When the command ended that says when it began, a second before."""
    output = data.get("output") or ""
    return int(output.split()[0]) / 1e9 + 1 if output.startswith("1") else None


def _delays(server: Server, commands: list[str], when: Callable[[dict], float | None]) -> list[float]:
    """Milliseconds between the moment that `when` finds in an event and its arrival, while all tasks do this."""
    tasks = [server.dispatch(script(*commands)) for _ in range(TASKS)]
    heard: list[tuple[float, float]] = []

    def listen(task: dict) -> None:
        with server.client.stream("GET", f"/api/v1/tasks/{task['id']}/events", params={"stream": "true"}) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: ") and (happened := when(json.loads(line[6:]))):
                    heard.append((happened, time.time()))

    listeners = [threading.Thread(target=listen, args=(task,)) for task in tasks]
    for listener in listeners:
        listener.start()
    for task in tasks:
        wait_until(lambda task=task: _works(server, task), 240)
    began = time.time() + 2
    time.sleep(MEASURED_SECONDS)
    for task in tasks:
        server.post(f"/tasks/{task['id']}/cancel", expect=200)
    for listener in listeners:
        listener.join()
    return [1000 * (came - happened) for happened, came in heard if began < happened < began + MEASURED_SECONDS - 2]


def _restart(server: Server) -> list[Figure]:
    tasks = [server.dispatch(script("sleep 120")) for _ in range(TASKS)]
    for task in tasks:
        wait_until(lambda task=task: _works(server, task), 240)
    server.stop(signal.SIGKILL)
    began = time.monotonic()
    server.start()
    ready = time.monotonic() - began
    wait_until(lambda: server.metric("agentcontainer_guests") == TASKS, 60)  # one for each task: nothing else runs
    seconds = time.monotonic() - began
    for task in tasks:
        server.post(f"/tasks/{task['id']}/cancel", expect=200)
    return [
        Figure("a server's start, with 20 agents at work", [ready], "s"),
        Figure(f"start to {TASKS} agents that listen again", [seconds], "s", "2 or less"),
    ]


def _works(server: Server, task: dict) -> bool:
    return any(event["event"] == "activity.started" for event in server.history(task["id"]))
