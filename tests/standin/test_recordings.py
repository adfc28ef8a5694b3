"""A server for test suites that records the model calls of tasks, and replays them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local.client import TaskEnded
from agentcontainer_local.testing import finish, server
from tests import fake_provider
from tests.fake_provider import FakeProvider, bash

CLAUDE = {"model": "claude-sonnet-4-5", "provider": "anthropic"}


@pytest.fixture
def fake(monkeypatch) -> Iterator[FakeProvider]:
    """The provider that the process's environment names."""
    with fake_provider.serving() as fake:
        for name, value in fake.environ().items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def tapes(fake, monkeypatch, tmp_path) -> Path:
    """With one task, `Add up.`; its provider is not in the environment any more."""
    fake.plan(bash("echo 6 > sum.txt"), bash('finish --complete-task --message "Six" sum.txt'))
    with server(record=tmp_path / "tapes") as ac:
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"
    for name in fake.environ():
        monkeypatch.delenv(name)
    return tmp_path / "tapes"


def test_a_recorded_task_is_replayed_after_each_reset(tapes, fake, tmp_path):
    asked = len(fake.seen)
    with server(replay=tapes) as ac:
        for number in range(2):
            done = ac.client.run("Add up.", model="claude-sonnet-4-5", output=tmp_path / str(number))
            assert (done.result, (tmp_path / str(number) / "sum.txt").read_text()) == ("Six", "6\n")
            ac.reset()
    assert len(fake.seen) == asked == 2


@pytest.mark.slow
@pytest.mark.podman
def test_real_containers_repeat_a_recorded_task(fake, tmp_path):
    fake.plan(bash("date; python3 -c 'print(2 * 3)' > sum.txt"), bash('finish --complete-task --message "Six" sum.txt'))
    with server("podman", record=tmp_path / "tapes") as ac:
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"
    with server("podman", replay=tmp_path / "tapes", environ=dict.fromkeys(fake.environ(), "")) as ac:
        assert ac.client.run("Add up.", **CLAUDE, output=tmp_path).result == "Six"
    assert (tmp_path / "sum.txt").read_text() == "6\n"
    assert len(fake.seen) == 2


def test_scripts_and_the_scripted_model_stand_beside_recordings(tapes):
    with server(replay=tapes) as ac:
        ac.script(finish("By script"), instructions="Something else")
        assert ac.client.run("Something else.", **CLAUDE).result == "By script"
        assert ac.client.run("Say.", model="scripted").result == "Done"
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"


def test_a_task_that_is_not_recorded_fails_unless_the_replay_is_loose(tapes):
    with server(replay=tapes) as ac, pytest.raises(TaskEnded, match="There is no recording of this task"):
        ac.client.run("Add them up.", **CLAUDE)
    with server(replay=tapes, replay_mode="loose") as ac:
        assert ac.client.run("Add them up.", **CLAUDE).result == "Six"


def test_with_both_only_what_is_new_is_recorded(tapes, fake, monkeypatch):
    for name, value in fake.environ().items():
        monkeypatch.setenv(name, value)
    fake.plan(bash('finish --complete-task --message "New"'))
    with server(record=tapes, replay=tapes) as ac:
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"
        assert ac.client.run("Subtract.", **CLAUDE).result == "New"
    assert len(fake.seen) == 3
    with server(replay=tapes) as ac:
        assert ac.client.run("Subtract.", **CLAUDE).result == "New"


def test_a_recording_of_real_pi_is_followed_by_a_simulated_agent(tapes):
    """Its requests have another form, so they are not compared."""
    [tape] = tapes.iterdir()
    tape.write_text(tape.read_text().replace("backend: simulated", "backend: podman").replace("Run a command", "Bash"))
    with server(replay=tapes) as ac:
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"


KILLED = """
import os, signal, sys
from agentcontainer_local.testing import server

with server(record=sys.argv[1]) as ac:
    overrides = {"model": "claude-sonnet-4-5"}
    task = ac.client.create_task("agt_standard_coding", instructions="Add up.", overrides=overrides)
    while not list(ac.client.list_activities(task.id)):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_leaves_the_recording_before_as_it_was(tapes, fake):
    [whole] = tapes.iterdir()
    before = whole.read_text()
    fake.forget()
    fake.plan(bash("echo 7"), fake_provider.Silent())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tapes)], env={**os.environ, **fake.environ()}, timeout=60, check=False
    )
    assert killed.returncode == -9
    [partial] = tapes.glob("*.partial")
    assert whole.read_text() == before
    assert "\nended:" not in partial.read_text()
    with server(replay=tapes) as ac:
        assert ac.client.run("Add up.", **CLAUDE).result == "Six"
