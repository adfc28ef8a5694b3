"""The crash harness: at each named point the real server dies with no clean-up, is started again, and all is in order.

A dozen points a day, the same for everybody on that day; all of them with AGENTCONTAINER_EVERY_CRASH=1.
"""

import contextlib
import datetime
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from agentcontainer_local import lifecycle
from agentcontainer_local.environment import CRASH_AT
from agentcontainer_local.process import failpoints
from tests.system.conftest import ENDED, WAITS, Server, podman, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

SOURCE = Path(failpoints.__file__).parents[1]
DOZEN = 12


class Mortal(Server):
    """A server that dies at a point once; whoever meets it dead starts it again and asks again."""

    def __init__(self, data: Path, point: str):
        billing = {"AGENTCONTAINER_BILLING": "prepaid", "AGENTCONTAINER_CREDIT": "10"}
        super().__init__(data, AGENTCONTAINER_IDLE_SECONDS="1", **billing)
        self.point = point
        self.died = False

    def arm(self) -> None:
        self.settings[CRASH_AT] = self.point

    def get(self, path: str, **query) -> dict:
        return self._insist(lambda: super(Mortal, self).get(path, **query))

    def post(self, path: str, body: dict | None = None, expect: int = 201, **headers) -> dict:
        headers = {"Idempotency-Key": os.urandom(8).hex(), **headers}
        return self._insist(lambda: super(Mortal, self).post(path, body, expect, **headers))

    def patch(self, path: str, body: dict) -> None:
        self._insist(lambda: self.client.patch(f"/api/v1{path}", json=body).raise_for_status())

    def upload(self, filename: str, content: bytes) -> str:
        return self._insist(lambda: super(Mortal, self).upload(filename, content))

    def outputs(self, task_id: str) -> dict[str, bytes]:
        return self._insist(lambda: super(Mortal, self).outputs(task_id))

    def files(self) -> set[str]:
        return set((self.row("SELECT group_concat(id) AS ids FROM files")["ids"] or "").split(",")) - {""}

    def _insist(self, ask: Callable):
        try:
            return ask()
        except httpx.TransportError:
            self.revive()
            return ask()

    def revive(self) -> None:
        """It must have died at the point, and of nothing else."""
        assert self.ended(30) == failpoints.EXIT_CODE, self.log.read_text()[-3000:]
        assert not self.died
        self.died = True
        self.client.close()
        self.settings.pop(CRASH_AT, None)
        self.start()


# What is done with it; each ends with every task ended, or cancels it.


def work(server: Mortal) -> None:
    """From an uploaded file to an output."""
    csv = server.upload("n.csv", b"1\n2\n")
    task = server.dispatch(
        bash("cat task_files/n.csv >> log", "echo three >> log", finish="--complete-task --message Done log"),
        files=[csv],
    )
    ended = server.wait(task["id"])
    assert (ended["status"], ended["result"]) == ("finished", "Done"), ended["error"]
    wait_until(lambda: server.get(f"/tasks/{task['id']}")["status"] == "finished" and not server.things(), 15)
    assert server.outputs(task["id"]) == {"log": b"1\n2\nthree\n"}
    assert len(server.get(f"/tasks/{task['id']}/files")["data"]) == 1


def sleep(server: Mortal) -> None:
    """Lies down for a second, and goes on."""
    task = server.dispatch(
        bash("echo one >> log", "hibernate --for 1s", "echo two >> log", finish="--complete-task --message Done log")
    )
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(task["id"]) == {"log": b"one\ntwo\n"}
    assert moves(server, task["id"]).count("hibernating") == 1


def converse(server: Mortal) -> None:
    """A turn with a file, a turn with a living container, a turn with a stopped one, and then to its end by itself."""
    task = server.converse(bash("echo one >> log; attach log; echo first"))
    assert server.answered(task["id"], 1)["content"].strip().endswith("first")
    server.say(task["id"], bash("echo two >> log; echo second"))
    assert server.answered(task["id"], 2)["content"].strip() == "second"
    wait_until(lambda: server.get("/account") and server.row(OPEN_RUNS)["n"] == 0, 15)  # asked, so that it is alive
    server.say(task["id"], bash("cat log"))
    assert server.answered(task["id"], 3)["content"].split() == ["one", "two"]
    server.patch(f"/tasks/{task['id']}", {"mode": "autonomous"})
    assert server.wait(task["id"])["status"] == "finished"
    assert server.outputs(task["id"]) == {"log": b"one\n"}
    said = [(m["role"], m["status"]) for m in server.transcript(task["id"]) if m["turnNumber"]]
    assert said == [("user", "completed"), ("assistant", "completed")] * 3


def expire(server: Mortal) -> None:
    task = server.converse("Hello")
    server.answered(task["id"], 1)
    server.execute("UPDATE tasks SET expires_at = '2020-01-01T00:00:00.000Z' WHERE id = ?", task["id"])
    server.wait(task["id"], "expired")


def cancel(server: Mortal) -> None:
    task = server.dispatch(bash("sleep 60"))
    server.wait(task["id"], "running")
    assert server.post(f"/tasks/{task['id']}/cancel", expect=200)["status"] == "cancelled"


def die(server: Mortal) -> None:
    """Pi is killed once, and started again."""
    task = server.dispatch(
        bash(
            "echo once >> log; test -e killed || { touch killed; kill -9 $PPID; sleep 5; }",
            finish="--complete-task --message Done log",
        )
    )
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(task["id"]) == {"log": b"once\n"}
    assert server.row("SELECT deaths, attempt_number FROM tasks") == {"deaths": 1, "attempt_number": 2}


def fail(server: Mortal) -> None:
    """It never calls finish with what is asked of it."""
    task = server.dispatch("Say something.", outputPolicy={"mode": "at_least_one"})
    ended = server.wait(task["id"])
    assert ended["status"] == "failed" and "without calling finish" in ended["error"]


def restart(server: Mortal, number: int = signal.SIGKILL) -> None:
    """The point is in a start, or in an end, while an agent works."""
    task = server.dispatch(
        bash("echo one >> log; sleep 4; echo two >> log", finish="--complete-task --message Done log")
    )
    wait_until(lambda: any(e["event"] == "activity.started" for e in server.history(task["id"])), 30)
    server.stop(number)
    server.arm()
    with contextlib.suppress(AssertionError):
        server.start()
    server.revive()
    assert server.wait(task["id"])["status"] == "finished"
    assert server.outputs(task["id"]) == {"log": b"one\ntwo\n"}


def suspend(server: Mortal) -> None:
    """The point is where Ctrl-C is obeyed."""
    task = server.dispatch(bash("echo one >> log; sleep 2", finish="--complete-task --message Done log"))
    wait_until(lambda: any(e["event"] == "activity.started" for e in server.history(task["id"])), 30)
    server.process.send_signal(signal.SIGINT)
    server.revive()
    assert server.wait(task["id"])["status"] == "finished"


def tidy(server: Mortal) -> None:
    """The point is where old outputs are removed, soon after a start."""
    task = server.run(bash("echo one > out", finish="--complete-task --message Done out"))
    wait_until(lambda: not server.things(), 15)
    server.stop()
    server.settings["AGENTCONTAINER_RETENTION_BYTES"] = "1"
    server.arm()
    with contextlib.suppress(AssertionError):
        server.start()
    server.revive()
    # Not their bytes: they may go between the list and the download, which is then answered with 404.
    wait_until(lambda: server.get(f"/tasks/{task['id']}/files")["data"] == [], 15)
    server.get(f"/tasks/{task['id']}")


def take(server: Mortal) -> None:
    """A container is made ready for the next task, and taken by it."""
    server.run(bash(finish="--complete-task --message Done"))
    wait_until(lambda: server.get("/account") and (server.died or WAITS in server.log.read_text()), 60)
    task = server.dispatch(bash("echo one >> log", "echo two >> log", finish="--complete-task --message Done log"))
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(task["id"]) == {"log": b"one\ntwo\n"}
    assert moves(server, task["id"]) == ["pending", "running", "finished"]


SCENARIOS = {
    work: """bytes.placed task.creating run.begun door.opened image.there uid.claimed launch.written volumes.made
        container.made container.starting container.started apply.started command.giving input.asked prompt.delivered
        usage.recording events.received events.recording events.recorded outputs.claimed outputs.received
        outputs.written apply.finished task.settled outputs.committed run.ended container.removed volumes.removing
        volumes.removed""",
    sleep: "hibernate.asked apply.slept hibernate.accepted container.stopped task.waking apply.woken "
    "container.restarting",
    converse: "request.kept message.written run.settled turn.ending apply.turn_ended apply.messaged "
    "apply.messaged_cold task.switching apply.switched",
    expire: "apply.expired",
    cancel: "apply.cancelled",
    die: "container.lost apply.interrupted",
    fail: "apply.failed",
    restart: "server.opening supervisor.looked supervisor.attending",
    tidy: "task.swept",
    take: "slot.filling slot.waiting slot.taken slot.recorded slot.given",
    suspend: "server.ending supervisor.suspending",
}
POINTS = {point: scenario for scenario, points in SCENARIOS.items() for point in points.split()}
OPEN_RUNS = "SELECT count(*) AS n FROM runs WHERE ended_at IS NULL"


def chosen() -> list[str]:
    if os.environ.get("AGENTCONTAINER_EVERY_CRASH"):
        return sorted(POINTS)
    today = datetime.datetime.now(datetime.UTC).date().toordinal()
    return sorted(random.Random(today).sample(sorted(POINTS), DOZEN))


def moves(server: Server, task_id: str) -> list[str]:
    updates = [e["data"] for e in server.history(task_id) if e["event"] == "task.updated"]
    return [update["status"] for update in updates if update["event"] not in ("turn", "mode")]


@pytest.fixture
def mortal(request, tmp_path: Path) -> Iterator[Mortal]:
    server = Mortal(tmp_path / "data", request.param)
    if POINTS[request.param] is take:
        server.settings["AGENTCONTAINER_WARM"] = "1"
    if POINTS[request.param] not in (restart, tidy):
        server.arm()
    server.start()
    yield server
    if server.process.poll() is None:
        server.stop()
    for name in server.everything():
        podman("volume", "rm", "-f", name) if name.endswith(("-work", "-state")) else podman("rm", "-f", name)


@pytest.mark.parametrize("mortal", chosen(), indirect=True)
def test_a_server_that_dies_at_a_point_leaves_everything_in_order(mortal: Mortal):
    POINTS[mortal.point](mortal)
    assert mortal.died, "the point was not reached"
    wait_until(lambda: not mortal.things(), 15)
    assert mortal.row(OPEN_RUNS)["n"] == 0
    assert mortal.row("SELECT count(*) AS n FROM messages WHERE status IN ('queued', 'running')")["n"] == 0
    assert mortal.row("SELECT count(*) AS n FROM activities WHERE completed_at IS NULL")["n"] == 0
    for task in mortal.get("/tasks")["data"]:
        assert task["status"] in ENDED
        if POINTS[mortal.point] is not tidy:  # which has removed the history
            walked(mortal, task)
        entered = mortal.row(
            "SELECT count(*) AS n, group_concat(kind) AS kinds FROM (SELECT kind FROM ledger WHERE task_id = ?"
            " ORDER BY kind)",
            task["id"],
        )
        assert entered["kinds"] == "charge,release,reservation"
    assert mortal.row("PRAGMA integrity_check")["integrity_check"] == "ok"
    mortal.stop()
    mortal.start()  # which removes bytes that no row names
    assert {path.name for path in (mortal.data / "files").iterdir()} - {"incoming"} == mortal.files()
    mortal.stop()
    assert not mortal.everything()


def walked(server: Server, task: dict) -> None:
    """Its history is a walk through the table, and ends where the task is."""
    updates = [e["data"] for e in server.history(task["id"]) if e["event"] == "task.updated"]
    status = None
    for update in updates:
        if update["event"] == "created":
            assert status is None
            status = update["status"]
        elif update["event"] not in ("turn", "mode"):
            assert update["from"] == status
            status = lifecycle.after(status, update["event"])
            assert update["status"] == status
    assert status == task["status"]


def test_every_point_in_the_code_has_its_scenario_and_there_are_forty_at_least():
    found = set()
    for path in SOURCE.rglob("*.py"):
        found.update(re.findall(r'failpoints\.point\("([^"]+)"\)', path.read_text()))
    found |= {f"apply.{event}" for event in lifecycle.EVENTS}
    placed = {"job.submitted", "checkpoint.written"}  # of runs on other machines, which this server does not start
    # A restore has no server: tests/system/test_backups.py.
    assert found == {*POINTS, *placed, "restore.volume"}
    assert len(POINTS) >= 40
