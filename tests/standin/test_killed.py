"""A server for tests whose process is killed: two seconds later nothing of it is left, and all else is as it was."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.process import runtime_directory
from agentcontainer_local.testing import Server, finish, server, wait

SECONDS = 2.0  # where a processor is free; on a machine with other work, so much longer
BEGUN = """
import json, sys, time
from agentcontainer_local.testing import finish, server, wait

def begun(ac):
    "With a task at work."
    ac.script(wait(600), finish("late"))
    task = ac.client.create_task("agt_standard_coding", instructions="Wait.")
    while ac.client.get_task(task.id).status != "running":
        time.sleep(0.05)
    running = ac._running
    return {"url": ac.url, "folder": str(running.folder), "store": running.host.store_id}
"""
PROGRAM = (
    BEGUN
    + """
with server(sys.argv[1]) as ac:
    print(json.dumps(begun(ac)), flush=True)
    time.sleep(600)
"""
)
SUITE = (
    BEGUN
    + """
import os, pathlib, pytest

@pytest.mark.parametrize("n", [1, 2])
def test_waits(n):
    with server() as ac:
        shown = pathlib.Path(f"{n}.json")
        shown.with_suffix(".part").write_text(json.dumps(begun(ac)))
        shown.with_suffix(".part").rename(shown)
        time.sleep(600)
"""
)


@contextlib.contextmanager
def program(backend: str) -> Iterator[tuple[subprocess.Popen, dict[str, str]]]:
    """A process with a server for tests, and what it says of that."""
    command = [sys.executable, "-c", PROGRAM, backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def labelled(store: str) -> list[str]:
    """Containers and volumes of a store."""
    listings = ("ps", "--all", "--quiet"), ("volume", "ls", "--quiet")
    label = ("--filter", f"label=agentcontainer.store={store}")
    said = [subprocess.run(["podman", *words, *label], capture_output=True) for words in listings]
    return b"".join(one.stdout for one in said).decode().split()


def left(of: dict[str, str], backend: str) -> list[str]:
    """What there is of that server, the processes that know its folder or its store included."""
    found = [of["folder"]] if Path(of["folder"]).exists() else []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
            if of["folder"] in words or of["store"] in words:
                found.append(f"process {pid}: {words}")
    directory = runtime_directory.existing(of["store"])
    if backend == "podman":
        found += [*labelled(of["store"]), *([str(directory)] if directory else [])]
    return found


def nothing_is_left(of: dict[str, str], backend: str = "simulated") -> None:
    began, seconds = time.monotonic(), SECONDS * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    while (found := left(of, backend)) and time.monotonic() - began < seconds:
        time.sleep(0.05)
    assert found == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(of["url"])


def test_nothing_is_left_of_a_server_whose_process_group_is_killed(ac: Server):
    with program("simulated") as (process, shown):
        assert Path(shown["folder"]).is_dir()
        os.killpg(process.pid, signal.SIGKILL)
        nothing_is_left(shown)
    ac.script(finish("as it was"))
    assert ac.client.run("Go on.").result == "as it was"


@pytest.mark.podman
def test_no_container_volume_or_run_directory_is_left_and_another_servers_are():
    with server("podman") as other, program("podman") as (process, shown):
        other.script(wait(600), finish())
        task = other.client.create_task("agt_standard_coding", instructions="Wait.")
        while other.client.get_task(task.id).status != "running":
            time.sleep(0.05)
        mine = labelled(store := other._running.host.store_id)
        for found in (mine, labelled(shown["store"])):
            assert len(found) >= 3  # a container and two volumes; there may be those of a container that waits
        os.killpg(process.pid, signal.SIGKILL)
        nothing_is_left(shown, "podman")
        assert set(mine) <= set(labelled(store))
    assert labelled(store) == []
    assert runtime_directory.existing(store) is None


STARTING = """
import subprocess, sys, time
subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE if sys.argv[1] == "pipe" else subprocess.DEVNULL)
time.sleep(600)
"""


@pytest.mark.parametrize(("stdin", "wrapper"), [("null", []), ("pipe", []), ("pipe", ["sh", "-c", '"$@"; :', "sh"])])
def test_an_ephemeral_server_ends_with_the_process_that_started_it(stdin: str, wrapper: list[str]):
    serve = [sys.executable, "-m", "agentcontainer_local", "serve", "--ephemeral"]
    command = [sys.executable, "-c", STARTING, stdin, *wrapper, *serve]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        url = json.loads(starter.stdout.readline())["url"]
        folder = folder_of(starter.pid)
        starter.kill()
        nothing_is_left({"url": url, "folder": folder, "store": folder})


def test_nothing_is_left_of_an_ephemeral_server_that_is_killed_itself():
    command = [sys.executable, "-m", "agentcontainer_local", "serve", "--ephemeral"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = json.loads(process.stdout.readline())["url"]
        folder = folder_of(process.pid)
        process.kill()
        nothing_is_left({"url": url, "folder": folder, "store": folder})


def folder_of(pid: int) -> str:
    """Of the server for tests in that process, or below it: the shell that waits for its end knows it."""
    processes = [pid]
    for one in processes:
        children = Path(f"/proc/{one}/task").glob("*/children")
        processes += [int(child) for file in children for child in file.read_text().split()]
    words = [word for one in processes for word in Path(f"/proc/{one}/cmdline").read_text().split("\0")]
    return next(word for word in words if "agentcontainer-test-" in word)


def test_nothing_is_left_of_the_workers_of_pytest_xdist_when_their_controller_is_killed(tmp_path: Path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    words = ["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    with subprocess.Popen([sys.executable, *words], cwd=tmp_path, stdout=subprocess.DEVNULL) as controller:
        try:
            files = [tmp_path / f"{n}.json" for n in (1, 2)]
            for _ in range(1200):
                if all(file.exists() for file in files):
                    break
                time.sleep(0.05)
            shown = [json.loads(file.read_text()) for file in files]
            assert all(Path(one["folder"]).is_dir() for one in shown)
        finally:
            controller.kill()
    for one in shown:
        nothing_is_left(one)
