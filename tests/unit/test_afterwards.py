"""A command that runs once its process has ended, however that happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agentcontainer_local.process.afterwards import Afterwards

OWNER = """
import os, signal, sys, time
from agentcontainer_local.process.afterwards import Afterwards
after = Afterwards(["/bin/sh", "-c", 'echo ended > "$0"', sys.argv[1]])
how = sys.argv[2]
if how == "dismisses":
    after.dismiss()
elif how == "leaves a forked child":
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.close(1)
        time.sleep(60)
    os.wait4(-1, os.WNOHANG)
    os.kill(os.getpid(), signal.SIGKILL)
elif how != "ends":
    os.killpg(0, getattr(signal, how))
"""


def owner(noted: Path, how: str) -> str:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, noted, how], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        return process.stdout.read()


def happens(noted: Path) -> bool:
    for _ in range(500):
        if noted.exists():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", ["ends", "SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_the_command_runs_when_the_process_group_of_its_owner_is_killed(tmp_path: Path, how: str):
    owner(noted := tmp_path / "noted", how)
    assert happens(noted)


def test_a_forked_child_that_lives_on_does_not_keep_it_from_running(tmp_path: Path):
    child = int(owner(noted := tmp_path / "noted", "leaves a forked child"))
    try:
        assert happens(noted)
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_was_dismissed_does_not_run(tmp_path: Path):
    owner(noted := tmp_path / "noted", "dismisses")
    after = Afterwards(["/bin/touch", str(noted)])
    after.dismiss()  # returns when the shell has ended
    after.dismiss()
    assert not noted.exists()


def test_a_shell_that_was_killed_is_dismissed_as_well(tmp_path: Path):
    after = Afterwards(["/bin/touch", str(tmp_path / "noted")])
    after._waiting.kill()
    after._waiting.wait()
    after.dismiss()
