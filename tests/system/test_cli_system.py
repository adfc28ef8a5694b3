"""The command with a real server: run and chat in a real terminal and through pipes, a server for the time being."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.podman import standard_images
from tests.system.conftest import NOTHING_KEPT, SIMULATED, Server, podman, wait_until
from tests.system.test_main_job import bash
from tests.terminal import COMMAND, terminal

FINISH = "--complete-task --message Done --output report=r.md"
REPORT = bash("echo hello there; sleep 1; echo '# R' > r.md", finish=FINISH)
SLEEP = bash("sleep 300")


def environ(server: Server | None = None, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCONTAINER_")}
    named = {"AGENTCONTAINER_URL": server.url, "AGENTCONTAINER_API_KEY": server.key} if server else {}
    return {**kept, **NOTHING_KEPT, **named, **more}


def call(*words: str, env: dict[str, str], cwd: Path, stdin: str | None = None, code: int = 0) -> str:
    done = subprocess.run(
        [*COMMAND, *words], env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def test_run_shows_the_work_and_brings_the_files(server: Server, tmp_path):
    (tmp_path / "in.csv").write_text("1")
    words = ("run", REPORT, "-m", "scripted", "-i", "in.csv", "-o", "out", "--expect", "report")
    with terminal(*words, env=environ(server), cwd=tmp_path) as shown:
        assert shown.ends() == 0
    for words in ("running", "$ echo hello there", "hello there", "finished", "Done", "tokens in", "out/r.md"):
        assert words in shown.text
    assert (tmp_path / "out" / "r.md").read_text() == "# R\n"


def test_a_pipe_gets_plain_lines_and_json_one_document(simulated: Server, tmp_path):
    said = call(
        "run",
        "-",
        "-m",
        "scripted",
        "-o",
        "out",
        env=environ(simulated),
        cwd=tmp_path,
        stdin=REPORT.replace("--output report=r.md", "r.md"),
    )
    assert "\x1b" not in said and said.splitlines()[-1] == "Done" and "  hello there" in said.splitlines()
    said = call("run", bash("true"), "-m", "scripted", "--json", env=environ(simulated), cwd=tmp_path)
    assert json.loads(said)["status"] == "finished"


def test_ctrl_c_asks_and_cancels(simulated: Server, tmp_path):
    with terminal("run", SLEEP, "-m", "scripted", env=environ(simulated), cwd=tmp_path) as shown:
        task_id = re.search(r"tsk_\w+", shown.until("Coding"))[0]
        shown.until("$ sleep 300")
        shown.type("\x03")
        shown.until("c/d/Enter")
        shown.type("\n")
        time.sleep(1)
        assert simulated.get(f"/tasks/{task_id}")["status"] == "running"  # Enter stays
        shown.type("\x03")
        shown.until("c/d/Enter")
        shown.type("c\n")
        assert shown.ends() == 130
    assert simulated.get(f"/tasks/{task_id}")["status"] == "cancelled"


def test_a_second_ctrl_c_cancels_as_the_first_one_has_said(simulated: Server, tmp_path):
    with terminal("run", SLEEP, "-m", "scripted", env=environ(simulated), cwd=tmp_path) as shown:
        task_id = re.search(r"tsk_\w+", shown.until("Coding"))[0]
        shown.until("$ sleep 300")
        shown.type("\x03")
        assert "Ctrl-C again: cancel" in " ".join(shown.until("c/d/Enter").split())
        shown.type("\x03")
        with contextlib.suppress(AssertionError):  # Python's input() may overlook one that comes as it shows its prompt
            shown.ends(5)
        if shown.process.poll() is None:
            shown.type("\x03")
        assert shown.ends() == 130
    assert simulated.get(f"/tasks/{task_id}")["status"] == "cancelled"


def test_ctrl_c_may_leave_the_task_alone_and_logs_take_it_up(server: Server, tmp_path):
    work = bash("sleep 5; echo done sleeping", finish="--complete-task --message Ended")
    with terminal("run", work, "-m", "scripted", env=environ(server), cwd=tmp_path) as shown:
        task_id = re.search(r"tsk_\w+", shown.until("Coding"))[0]
        shown.until("$ sleep 5")
        shown.type("\x03")
        shown.until("c/d/Enter")
        shown.type("d\n")
        assert shown.ends() == 0
    followed = call("tasks", "logs", "-f", task_id, env=environ(server), cwd=tmp_path)
    assert "done sleeping" in followed and "* finished" in followed


def test_an_interrupted_run_without_a_terminal_cancels_its_task(simulated: Server, tmp_path):
    running = subprocess.Popen(
        [*COMMAND, "run", SLEEP, "-m", "scripted"],
        env=environ(simulated),
        cwd=tmp_path,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with running:
        task_id = re.search(r"tsk_\w+", running.stderr.readline())[0]
        assert simulated.wait(task_id, "running")
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
    assert simulated.get(f"/tasks/{task_id}")["status"] == "cancelled"


def test_a_conversation_in_the_terminal(simulated: Server, tmp_path):
    with terminal("chat", "-m", "scripted", env=environ(simulated), cwd=tmp_path) as shown:
        shown.until("> ")
        shown.type("first words\n")
        shown.until("first words\n")  # as typed
        shown.until("first words")  # as answered
        shown.until("> ")
        shown.type("second words\n")
        shown.until("second words\n")
        shown.until("second words")
        shown.until("> ")
        shown.type("/quit\n")
        task_id = re.search(r"--task (tsk_\w+)", shown.until("\n", 10) + shown.until("\n", 10) + shown.text)[1]
        assert shown.ends() == 0
    assert simulated.get(f"/tasks/{task_id}")["turnNumber"] == 2
    simulated.post(f"/tasks/{task_id}/cancel", expect=200)


def test_a_conversation_in_the_terminal_is_left_to_finish_by_itself(simulated: Server, tmp_path):
    with terminal("chat", "-m", "scripted", env=environ(simulated), cwd=tmp_path) as shown:
        shown.until("> ")
        shown.type("first words\n")
        shown.until("first words\n")
        shown.until("first words")
        shown.until("> ")
        shown.type("/finish\n")
        shown.until("finished")
        assert shown.ends() == 0
        assert "Left." not in shown.text
    latest = json.loads(call("tasks", "show", "last", "--json", env=environ(simulated), cwd=tmp_path))
    assert latest["mode"] == "autonomous"


def test_a_conversation_is_renamed_and_made_autonomous(simulated: Server, tmp_path):
    task = simulated.converse("Hello")
    simulated.answered(task["id"], 1)
    call("tasks", "update", task["id"], env=environ(simulated), cwd=tmp_path, code=2)
    renamed = json.loads(
        call("tasks", "update", task["id"], "--title", "Mine", "--json", env=environ(simulated), cwd=tmp_path)
    )
    assert (renamed["title"], renamed["mode"]) == ("Mine", "conversation")
    said = call("tasks", "update", task["id"], "--autonomous", env=environ(simulated), cwd=tmp_path)
    assert said.split()[0] == task["id"]
    ended = simulated.wait(task["id"], "finished")
    assert (ended["title"], ended["mode"]) == ("Mine", "autonomous")
    call("tasks", "update", "tsk_nobody", "--autonomous", env=environ(simulated), cwd=tmp_path, code=5)


@pytest.fixture
def nobody(tmp_path) -> Iterator[dict[str, str]]:
    """An environment with a data directory that no server serves; nothing of it is left."""
    yield environ(AGENTCONTAINER_DATA=str(tmp_path / "data"))
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "agentcontainer.db")) as store:
        label = f"label=agentcontainer.store={store.execute('SELECT id FROM store').fetchone()[0]}"
    assert podman("ps", "-a", "-q", "--filter", label) + podman("volume", "ls", "-q", "--filter", label) == ""


def test_run_without_a_server_starts_one_for_the_time_being(nobody, tmp_path):
    said = call("run", REPORT, "-m", "scripted", "-o", "out", "--expect", "report", env=nobody, cwd=tmp_path)
    assert said.splitlines()[-1] == "Done" and (tmp_path / "out" / "r.md").exists()
    assert '"finished"' in call("tasks", "list", "--json", env=nobody, cwd=tmp_path)  # reads the store as well
    assert "agt_standard_data" in call("agents", "list", env=nobody, cwd=tmp_path)
    call("tasks", "list", "--data", "nowhere", env=nobody, cwd=tmp_path, code=3)
    assert not (tmp_path / "nowhere").exists()
    names = [key["name"] for key in json.loads(call("keys", "list", "--json", env=nobody, cwd=tmp_path))]
    assert names == ["first"]  # the command's own key is gone
    assert json.loads(call("run", bash("true"), "-m", "scripted", "--json", env=nobody, cwd=tmp_path))["result"]


def test_keys_and_providers_need_no_server_and_start_no_agent(nobody, tmp_path):
    nobody |= SIMULATED
    call("run", SLEEP, "-m", "scripted", "--max-runtime", "1", env=nobody, cwd=tmp_path, code=6)
    key = call("keys", "create", "phone", env=nobody, cwd=tmp_path)
    assert re.fullmatch(r"ac_live_[\w-]+\n", key)
    listed = {key["name"]: key["id"] for key in json.loads(call("keys", "list", "--json", env=nobody, cwd=tmp_path))}
    assert set(listed) == {"first", "phone"}
    call("keys", "revoke", listed["phone"], env=nobody, cwd=tmp_path)
    call("keys", "revoke", "key_nobody", env=nobody, cwd=tmp_path, code=5)
    call("providers", "set", "anthropic", env=nobody, cwd=tmp_path, stdin="sk-ant\n")
    assert "from the store" in call("providers", "list", env=nobody, cwd=tmp_path)
    assert "of $5.00" in call("budget", "set", "--max-cost", "5", env=nobody, cwd=tmp_path)
    assert "$0.00" in call("credit", "show", env=nobody, cwd=tmp_path)


def test_a_command_that_needs_no_agent_leaves_those_that_wait_alone(own_simulated: Server, tmp_path):
    task = own_simulated.dispatch(SLEEP)
    own_simulated.wait(task["id"], "running")
    own_simulated.stop(signal.SIGINT)  # suspends it
    try:
        call("keys", "list", env=environ(AGENTCONTAINER_DATA=str(own_simulated.data)), cwd=tmp_path)
        assert own_simulated.row("SELECT status FROM tasks WHERE id = ?", task["id"])["status"] == "pending"
        runs = own_simulated.row("SELECT count(*) AS n FROM runs WHERE task_id = ?", task["id"])
        assert runs["n"] == 1
    finally:
        own_simulated.start()
    own_simulated.wait(task["id"], "running")


def test_a_detached_run_without_a_server_is_refused(nobody, tmp_path):
    call("run", "x", "-m", "scripted", "--detach", env=nobody, cwd=tmp_path, code=2)


def test_the_commands_find_the_server_of_the_data_directory_and_need_no_key(own_simulated: Server, tmp_path):
    env = environ(AGENTCONTAINER_DATA=str(own_simulated.data))
    assert own_simulated.url in call("account", env=env, cwd=tmp_path)
    task = json.loads(call("run", bash("true"), "-m", "scripted", "--json", env=env, cwd=tmp_path))
    assert task["status"] == "finished"
    assert [key["name"] for key in own_simulated.get("/keys")["data"]] == ["first"]


def test_a_server_says_that_it_is_alive_and_ready_and_what_it_does(own_server: Server):
    for path in ("/healthz", "/readyz"):
        assert own_server.client.get(path, headers={"authorization": ""}).text == "ok\n"
    own_server.run(bash("true"))
    said = own_server.client.get("/metrics").text
    assert 'agentcontainer_tasks{status="finished"} 1' in said
    assert 'agentcontainer_model_calls_total{provider="scripted"} 2' in said
    (service,) = re.findall(
        r"^\s*(\d+) .*podman system service",
        subprocess.run(
            ["ps", "--ppid", str(own_server.process.pid), "-o", "pid=,args="], capture_output=True, text=True
        ).stdout,
        re.M,
    )
    os.kill(int(service), signal.SIGSTOP)  # Podman hangs: the server lives, and is not ready
    threads = Path("/proc", service, "task")
    try:
        wait_until(lambda: all(" T " in stat.read_text() for stat in threads.glob("*/stat")), 10)
        assert own_server.client.get("/readyz").status_code == 503
        assert own_server.client.get("/healthz").status_code == 200
    finally:
        os.kill(int(service), signal.SIGCONT)


def test_the_standard_images_are_listed_and_are_built_already(server: Server, tmp_path):
    server.run(bash("true"))
    assert "localhost/agentcontainer-coding" in call("images", "build", "coding", env=environ(), cwd=tmp_path)
    found = json.loads(call("images", "list", "--json", env=environ(), cwd=tmp_path))
    assert "coding" in {image["name"] for image in found if image["current"]}


# The real command on a folder of the test's own: an image of two steps on this machine's base.
BUILD = """
import sys
from pathlib import Path
from agentcontainer_local.sandbox.podman import standard_images
from agentcontainer_local.cli import app
standard_images.folder = lambda: Path(sys.argv[1])
app(["images", "build", "coding"])
"""


def test_building_an_image_shows_a_bar_in_a_terminal_and_its_steps_in_a_pipe(tmp_path, builds_alone):
    folder = tmp_path / "images"
    for name in ("coding", "data", "documents"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(standard_images.folder() / "base", folder / "base")
    program, built = [sys.executable, "-c", BUILD, str(folder)], set()
    try:
        for turn in (1, 2):
            text = f"ARG BASE\nFROM ${{BASE}}\nRUN echo {tmp_path} {turn}\nRUN sleep 1\n"
            for name in ("coding", "data", "documents"):
                (folder / name / "Containerfile").write_text(text)
            if turn == 1:
                with terminal(env=environ(), cwd=tmp_path, command=program) as shown:
                    assert shown.ends(120) == 0
                said = shown.raw
                assert "coding: STEP 3/" in said and "%" in said and "━━━" in said
            else:
                done = subprocess.run(program, env=environ(), capture_output=True, text=True, timeout=120)
                said = done.stdout
                assert re.fullmatch(r"coding  localhost/agentcontainer-coding:\w+\n", said)
                assert "coding: STEP 3/" in done.stderr and not re.search("\x1b|\r|━", said + done.stderr)
            built |= set(re.findall(r"localhost/agentcontainer-coding:\w+", said))
    finally:
        for image in built:
            podman("rmi", image)
    assert len(built) == 2


def test_a_directory_goes_to_the_agent_and_comes_back_as_one(server: Server, tmp_path: Path):
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "deep" / "a.txt").write_text("one\n")
    work = bash("cp -r task_files/src out && echo two >> out/deep/a.txt", finish="--complete-task -m Done out")
    call("run", work, "-m", "scripted", "-i", "src", "-o", "got", env=environ(server), cwd=tmp_path)
    assert (tmp_path / "got" / "out" / "deep" / "a.txt").read_text() == "one\ntwo\n"
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["out"]
    task = json.loads(call("tasks", "show", "last", "--json", env=environ(server), cwd=tmp_path))
    [file] = server.get(f"/tasks/{task['id']}/files")["data"]
    assert (file["filename"], file["contentType"]) == ("out.tar", "application/x-tar; directory=true")
