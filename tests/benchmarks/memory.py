"""Memory of a running task by process, beside plain Pi's. In each, a tool of the agent sleeps.

Counted are private pages that were written. Others, such as those of Node's own file, are shared or can be read again.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import fake_provider
from tests.benchmarks.cold_start import MODEL, pi_command
from tests.benchmarks.figures import Figure, ratios
from tests.fake_provider import bash
from tests.system.conftest import Server, podman, serving, wait_until

SLEEP = bash("sleep 600")
SETTLED_SECONDS = 2
NAMES = {"pi": "Pi", "node": "guest daemon", "catatonit": "init", "podman-init": "init", "conmon": "conmon"}


def run(long: bool) -> list[Figure]:
    count = 8 if long else 4
    provider = fake_provider.FakeProvider()
    with fake_provider.in_thread(provider, lifespan="off") as port, tempfile.TemporaryDirectory() as folder:
        provider.port = port
        with serving(Path(folder) / "data", AGENTCONTAINER_MAX_RUNNING=str(count), **provider.environ()) as server:
            tasks = [_of_a_task(server, provider) for _ in range(count)]
        plain = [_of_plain_pi(provider, Path(folder)) for _ in range(count)]
    parts = [Figure(f"a running task: {name}", [task[name] for task in tasks], "MB") for name in sorted(tasks[0])]
    return [
        *parts,
        Figure("plain Pi", plain, "MB"),
        ratios("a running task / plain Pi", [task.total() for task in tasks], plain, "1.05 or less"),
    ]


def _of_a_task(server: Server, provider: fake_provider.FakeProvider) -> Counter[str]:
    provider.plan(SLEEP)
    task = server.dispatch("Sleep", model=MODEL, provider="anthropic")
    wait_until(lambda: "activity.started" in json.dumps(server.history(task["id"])), 60)
    time.sleep(SETTLED_SECONDS)
    first = int(podman("inspect", server.container(task), "--format", "{{.State.Pid}}"))
    taken: Counter[str] = Counter()
    for pid in [_status(first)["PPid"], str(first), *_descendants(first)]:
        name = _status(int(pid))["Name"]
        if name not in ("sleep", "bash", "sh"):  # the agent's own
            taken[NAMES.get(name, "guest daemon")] += _private_mb(int(pid))
    return taken


def _of_plain_pi(provider: fake_provider.FakeProvider, folder: Path) -> float:
    provider.forget()
    provider.plan(SLEEP)
    command, environ = pi_command(provider, folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, env=environ, cwd=folder, start_new_session=True) as pi:
        try:
            pi.stdin.write(b'{"type":"prompt","message":"Sleep"}\n')
            pi.stdin.flush()
            wait_until(lambda: _descendants(pi.pid) != [], 60)
            time.sleep(SETTLED_SECONDS)
            return _private_mb(pi.pid)
        finally:
            for pid in [*_descendants(pi.pid), pi.pid]:
                os.kill(int(pid), 9)


def _descendants(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in children for found in [child, *_descendants(int(child))]]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _private_mb(pid: int) -> float:
    smaps = Path(f"/proc/{pid}/smaps_rollup")
    try:
        text = smaps.read_text()
    except PermissionError:  # a container's, whose uid is another: root of the account's user namespace may
        text = podman("unshare", "cat", str(smaps))
    return int(re.search(r"^Private_Dirty: +(\d+)", text, re.MULTILINE)[1]) / 1024
