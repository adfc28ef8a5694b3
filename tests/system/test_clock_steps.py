"""A real server whose wall clock is set while it runs, as an operator or an NTP client sets it."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash

HOUR = 3600


class Movable(Server):
    command = (sys.executable, "-m", "tests.system.clocks")

    def set_clock(self, seconds: float) -> None:
        """Ahead of the machine's by so much."""
        file = Path(self.settings["WALL_CLOCK"])
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").rename(file)


@pytest.fixture
def movable(tmp_path: Path) -> Iterator[Movable]:
    wall = tmp_path / "wall"
    wall.write_text("0")
    with serving(tmp_path / "data", Movable, WALL_CLOCK=str(wall)) as server:
        yield server


def test_whatever_the_clock_is_set_to_sleepers_wake_and_sessions_stay_open(movable: Movable):
    chat = movable.converse("Hello")
    movable.answered(chat["id"], 1)
    for ahead in (-HOUR, 0, 30 * 24 * HOUR, -HOUR):
        before = movable.dispatch(bash("hibernate --for 4s", "echo awake"))
        movable.wait(before["id"], "hibernating")
        movable.set_clock(ahead)
        after = movable.dispatch(bash("hibernate --for 1s", "echo awake"))
        for task in (before, after):
            ended = movable.wait(task["id"], seconds=40)
            assert (ended["status"], ended["error"]) == ("finished", None)
            assert ended["containerMinutes"] < 1
        assert movable.get(f"/tasks/{chat['id']}")["status"] == "awaiting_input"
        began = time.monotonic()
        assert movable.client.get("/healthz").status_code == 200
        assert time.monotonic() - began < 1
    movable.say(chat["id"], "Still there?")
    movable.answered(chat["id"], 2)


def test_a_server_that_was_suspended_bills_no_more_than_the_limit(movable: Movable):
    task = movable.dispatch(bash("sleep 60"), maxRuntimeSeconds=6)
    movable.wait(task["id"], "running")
    movable.process.send_signal(signal.SIGSTOP)
    time.sleep(12)  # the machine's own steady clock goes on, and nothing can move that
    movable.process.send_signal(signal.SIGCONT)
    ended = movable.wait(task["id"])
    assert ended["status"] == "failed" and "6 seconds" in ended["error"]
    assert ended["containerMinutes"] * 60 == pytest.approx(6)
    wait_until(lambda: not movable.things(), 20)
