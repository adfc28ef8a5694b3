"""How the command ends: each code of the table, and a clear line for each fault."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from agentcontainer_local.cli.exits import Exit
from agentcontainer_local.store import db, lock, tasks
from tests.live import Live
from tests.terminal import COMMAND
from tests.unit.cli.acts import AGENT, dispatched, give

pytestmark = pytest.mark.slow  # each starts the command as a process

NOBODY = "http://127.0.0.1:9"  # the port of a service that nobody runs


def ran(
    *words: str, then: Callable[[subprocess.Popen], None] = lambda process: None, **options
) -> tuple[int, str, str]:
    """A process of its own, as in a shell; answers its code, and what was on stdout and stderr."""
    command = subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    with command:
        then(command)
        printed, said = command.communicate(timeout=60)
    return command.returncode, printed, said


def ended(live: Live, event: str, **facts) -> int:
    """The code of a `run` whose task ends like this."""

    def end() -> None:
        found: list = []
        while not found:
            time.sleep(0.05)
            found = live.do(lambda host: db.rows(host.db, "SELECT id FROM tasks"))
        for move, more in (("started", {}), (event, facts)):
            live.do(lambda host, move=move, more=more: tasks.apply(host.db, found[0]["id"], move, host.now(), **more))

    ending = threading.Thread(target=end)
    ending.start()
    code, *_ = ran("run", "x", "-m", "scripted", "--json")
    ending.join()
    return code


def signalled(number: signal.Signals) -> int:
    def send(process: subprocess.Popen) -> None:
        assert "tsk_" in process.stderr.readline()
        process.send_signal(number)

    return ran("run", "x", "-m", "scripted", then=send)[0]


SHOWN: dict[Exit, Callable[[Live], int]] = {
    Exit.DONE: lambda live: ran("account")[0],
    Exit.FAILED: lambda live: ran("agents", "archive", AGENT)[0],
    Exit.WRONG_USE: lambda live: ran("run", " ")[0],
    Exit.NO_SERVER: lambda live: ran("account", "--url", NOBODY)[0],
    Exit.NO_KEY: lambda live: ran("account", env={**os.environ, "AGENTCONTAINER_API_KEY": "ac_live_wrong"})[0],
    Exit.NOT_FOUND: lambda live: ran("tasks", "show", "tsk_nobody")[0],
    Exit.TASK_FAILED: lambda live: ended(live, "failed", error="It broke."),
    Exit.TASK_CANCELLED: lambda live: ended(live, "cancelled"),
    Exit.TASK_INCOMPLETE: lambda live: ended(live, "finished", result="Half", completion="incomplete"),
    Exit.INTERRUPTED: lambda live: signalled(signal.SIGINT),
    Exit.TERMINATED: lambda live: signalled(signal.SIGTERM),
}


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in Exit])
def test_each_exit_code_is_that_of_what_the_table_says(cli, live, code):
    assert SHOWN[code](live) == code


# Faults: one clear line each


def test_a_server_that_is_not_there_is_named_at_once(cli):
    result = cli("account", "--url", NOBODY, code=Exit.NO_SERVER)
    assert result.stdout == "" and result.stderr.count("\n") == 1 and "does not answer" in result.stderr
    assert NOBODY in result.stderr
    result = cli("account", "--url", NOBODY, "--json", code=Exit.NO_SERVER)
    assert result.stdout == "" and json.loads(result.stderr)["error"]["code"] == "not_reachable"


def test_an_address_that_is_none_is_wrong_use(cli):
    assert "nowhere" in cli("account", "--url", "nowhere", code=Exit.WRONG_USE).stderr


def test_a_wrong_key_is_said_to_be_one(cli, monkeypatch):
    monkeypatch.setenv("AGENTCONTAINER_API_KEY", "ac_live_wrong")
    said = cli("account", code=Exit.NO_KEY).stderr
    assert said.count("\n") == 1 and "AGENTCONTAINER_API_KEY" in said and "ac_live_wrong" not in said


def older(app):
    """A server whose answers are of another time."""

    async def answer(scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/account"):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"id": "acc_1", "credits": 3}'})

    return answer


def test_a_server_of_another_version_is_said_to_be_one(cli, monkeypatch, tmp_path):
    (tmp_path / "older").mkdir()
    with Live(tmp_path / "older", older) as live:
        result = cli("account", "--url", live.url, code=Exit.FAILED)
    assert result.stderr.count("\n") == 1 and "another version" in result.stderr


def test_a_data_directory_that_is_in_use_is_said_to_be(cli, tmp_path):
    with lock.held(tmp_path / "data"):
        code, printed, said = ran("serve", "--port", "0", "--data", str(tmp_path / "data"))
        assert (code, printed) == (Exit.FAILED, "")
        assert said == f"agentcontainer: Another agentcontainer serves the data directory {tmp_path / 'data'}.\n"
        code, printed, said = ran("serve", "--port", "0", "--data", str(tmp_path / "data"), "--json")
    assert printed == "" and "Another agentcontainer serves" in json.loads(said)["error"]["message"]


def test_a_data_directory_that_is_not_the_accounts_is_said_to_be_so(cli, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o500)
    for data in (tmp_path / "theirs", tmp_path / "theirs" / "below"):
        code, printed, said = ran("serve", "--port", "0", "--data", str(data))
        assert (code, printed) == (Exit.FAILED, "")
        assert said.startswith(f"agentcontainer: {data} can't be written by the account ")
        assert "--data" in said and said.count("\n") == 1


def test_a_setting_that_makes_no_sense_is_named(cli):
    said = cli("serve", "--port", "many", code=Exit.WRONG_USE).stderr
    assert said.startswith("agentcontainer: --port (AGENTCONTAINER_PORT): ") and said.count("\n") == 1


def test_a_machine_without_podman_is_told_what_to_install(cli, tmp_path):
    bare = {**os.environ, "PATH": str(tmp_path)}
    del bare["AGENTCONTAINER_URL"]
    code, _, said = ran("serve", "--port", "0", "--data", str(tmp_path / "new"), env=bare)
    assert code == Exit.FAILED and "podman is missing: apt-get install" in said.splitlines()[-1]
    code, _, said = ran("keys", "list", "--data", str(tmp_path / "new"), env=bare)
    assert code == Exit.NO_SERVER and "podman is missing: apt-get install" in said.splitlines()[-1]


def test_a_full_disk_is_said_to_be_full(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "agents", "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (Exit.FAILED, "agentcontainer: stdout: No space left on device\n")


def test_a_file_for_which_the_disk_has_no_room_is_named_and_not_left_half(cli, live, tmp_path):
    """On a disk of 64 kB, in a mount namespace of the command's own."""
    small = 'mkdir out && mount -t tmpfs -o size=64k tmpfs out && "$@"; code=$?; ls -A out; exit $code'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*inside, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode:
        pytest.skip("this account can make no mount namespace")
    id = dispatched(cli)
    give(live, id, "large.bin", size=200_000)
    program = [sys.executable, "-c", "from agentcontainer_local.cli import app; app()"]
    done = subprocess.run(
        [*inside, small, "sh", *program, "tasks", "files", id, "-o", "out"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (Exit.FAILED, "")
    assert done.stderr == "agentcontainer: out/large.bin: No space left on device\n"
