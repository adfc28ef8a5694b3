"""The server, Podman, and everything in a container may be killed or stopped at any moment: nothing is lost.

AGENTCONTAINER_OUTAGE_SECONDS=600 makes the outage ten minutes long; `./dev bench --long crashes` does.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentcontainer_local.process import runtime_directory
from agentcontainer_local.sandbox.podman import processes
from tests.system.conftest import Server, podman, podman_things, standard_image, wait_until
from tests.system.test_conversations import moves, running_containers
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

STEPS = [f"echo {n} >> log; sleep 0.3" for n in range(10)]
LOG = "".join(f"{n}\n" for n in range(10)).encode()
FINISH = "--complete-task --message Done log"
OUTAGE_SECONDS = int(os.environ.get("AGENTCONTAINER_OUTAGE_SECONDS", "6"))


def begun(server: Server, *, after: int = 1, **overrides) -> dict:
    """A task in the midst of its ten steps."""
    task = server.dispatch(bash(*STEPS, finish=FINISH), **overrides)
    wait_until(lambda: steps(server, task) >= after, 60)
    return task


def steps(server: Server, task: dict) -> int:
    return sum(event["event"] == "activity.completed" for event in server.history(task["id"]))


def first_process(server: Server, task: dict) -> int:
    """Of the container, as the host sees it."""
    return int(podman("inspect", server.container(task), "--format", "{{.State.Pid}}"))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def kill(pid: int) -> None:
    """As root of the account's user namespace, for the processes of a container have other uids."""
    subprocess.run(["podman", "unshare", "kill", "-9", str(pid)], check=True)


def deaths(server: Server, task: dict) -> int:
    return server.row("SELECT deaths FROM tasks WHERE id = ?", task["id"])["deaths"]


def resumed_and_finished(server: Server, task: dict) -> None:
    """Every step was done at least once; the one under way when it was interrupted may be there twice."""
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    lines = server.outputs(task["id"])["log"].split()
    assert sorted(set(lines), key=int) == LOG.split()
    assert len(lines) <= 11


def went_on_and_finished(server: Server, task: dict) -> None:
    """Nothing was done twice, and nobody saw anything but one run."""
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert server.outputs(task["id"]) == {"log": LOG}
    assert moves(server, task["id"]) == ["pending", "running", "finished"]


def test_a_server_that_is_killed_again_and_again_loses_nothing(own_server: Server):
    task = begun(own_server)
    for _ in range(3):
        own_server.stop(signal.SIGKILL)
        own_server.start()
    went_on_and_finished(own_server, task)


def test_an_agent_that_lost_its_network_with_the_server_is_started_anew(own_server: Server):
    """`systemctl kill -s KILL` may end what serves the containers' networks with the server."""
    task = begun(own_server, internetAccess=True)
    own_server.stop(signal.SIGKILL)
    namespace = podman("inspect", own_server.container(task), "--format", "{{.NetworkSettings.SandboxKey}}").strip()
    for pid in processes.network_servers(namespace):
        os.kill(pid, signal.SIGKILL)
    own_server.start()
    resumed_and_finished(own_server, task)
    assert moves(own_server, task["id"]) == ["pending", "running", "pending", "running", "finished"]


def test_agents_are_attached_again_within_two_seconds_of_the_start(own_server: Server):
    waiting = [own_server.dispatch(bash(*["sleep 0.2"] * 60)) for _ in range(3)]
    for task in waiting:
        wait_until(lambda task=task: steps(own_server, task) > 1, 60)
    own_server.stop(signal.SIGKILL)
    before = [
        own_server.row("SELECT max(number) AS n FROM task_events WHERE task_id = ?", task["id"])["n"]
        for task in waiting
    ]
    own_server.start()
    ready = time.monotonic()
    wait_until(lambda: own_server.metric("agentcontainer_guests") == 3, 10)
    for task, last in zip(waiting, before, strict=True):
        wait_until(lambda task=task, last=last: own_server.history(task["id"])[-1]["id"] > last, 10)
    assert time.monotonic() - ready < 2


@pytest.mark.timeout(OUTAGE_SECONDS + 300)
def test_an_outage_in_which_agents_want_their_model_or_to_finish_costs_only_time(own_server: Server):
    seconds = OUTAGE_SECONDS + 120
    finishing = own_server.dispatch(
        bash("echo once >> log; sleep 5; finish --complete-task --message 'While you were away' log"),
        maxRuntimeSeconds=seconds,
    )
    task = begun(own_server, maxRuntimeSeconds=seconds)
    wait_until(lambda: own_server.history(finishing["id"])[-1]["event"] == "activity.started", 60)
    own_server.stop(signal.SIGKILL)
    time.sleep(OUTAGE_SECONDS)
    assert running_containers(task["id"]) and running_containers(finishing["id"])
    own_server.start()
    went_on_and_finished(own_server, task)
    assert own_server.wait(finishing["id"])["result"] == "While you were away"
    assert own_server.outputs(finishing["id"]) == {"log": b"once\n"}
    assert moves(own_server, finishing["id"]) == ["pending", "running", "finished"]


def test_a_tool_that_ended_while_the_server_was_away_ended_then(own_server: Server):
    task = own_server.dispatch(bash("sleep 2", finish="--complete-task --message Done"))
    wait_until(lambda: own_server.history(task["id"])[-1]["event"] == "activity.started", 60)
    own_server.stop(signal.SIGKILL)
    time.sleep(OUTAGE_SECONDS)
    back = datetime.now(UTC)
    own_server.start()
    assert own_server.wait(task["id"])["status"] == "finished"
    tools = own_server.get(f"/tasks/{task['id']}/activities", order="asc")["data"]
    times = [(datetime.fromisoformat(one["startedAt"]), datetime.fromisoformat(one["completedAt"])) for one in tools]
    assert times[0][1] < back < times[1][1]
    assert [one["durationMs"] for one in tools] == [round((end - begin).total_seconds() * 1000) for begin, end in times]


def test_time_goes_on_while_the_server_is_away(own_server: Server):
    limited = own_server.dispatch(bash("sleep 600"), maxRuntimeSeconds=5)
    idle = own_server.converse("Hello")
    own_server.answered(idle["id"], 1)
    own_server.wait(limited["id"], "running")
    own_server.stop(signal.SIGKILL)
    own_server.execute("UPDATE tasks SET expires_at = '2020-01-01T00:00:00.000Z' WHERE id = ?", idle["id"])
    time.sleep(5)
    own_server.start()
    ended = own_server.wait(limited["id"], "failed")
    assert "5 seconds, its maxRuntimeSeconds" in ended["error"]
    assert own_server.wait(idle["id"], "expired")["completedAt"]
    wait_until(lambda: not own_server.things(), 10)


def test_sigterm_leaves_agents_at_work_for_the_next_server(own_server: Server):
    task = begun(own_server)
    assert own_server.stop(signal.SIGTERM) == 0
    assert running_containers(task["id"])
    own_server.start()
    went_on_and_finished(own_server, task)


def test_ctrl_c_stops_containers_of_agents_and_of_idle_conversations_and_keeps_them(own_server: Server):
    task, idle = begun(own_server), own_server.converse(bash("echo kept > /tmp/kept; echo done"))
    own_server.answered(idle["id"], 1)
    assert own_server.stop(signal.SIGINT) == 0
    assert not running_containers(task["id"]) and not running_containers(idle["id"])
    assert len([name for name in own_server.things() if "work" not in name and "state" not in name]) == 2
    own_server.start()
    resumed_and_finished(own_server, task)
    own_server.say(idle["id"], bash("cat /tmp/kept"))
    assert own_server.answered(idle["id"], 2)["content"].strip() == "kept"
    assert deaths(own_server, task) == 0


def test_a_second_ctrl_c_does_not_wait(own_server: Server):
    for _ in range(4):
        own_server.wait(own_server.dispatch(bash("sleep 600"))["id"], "running")
    own_server.client.close()
    own_server.process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    own_server.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    with own_server.process:
        assert own_server.process.wait(timeout=10) in (0, 130)
    assert time.monotonic() - began < 1
    own_server.start()


@pytest.mark.parametrize("while_away", [False, True], ids=["while it serves", "while it is away"])
def test_after_a_reboot_agents_resume_from_workspace_and_session_and_none_has_died(own_server: Server, while_away):
    task = begun(own_server)
    if while_away:
        own_server.stop(signal.SIGKILL)
        podman("kill", own_server.container(task))
    else:
        podman("stop", own_server.container(task))
        wait_until(lambda: moves(own_server, task["id"])[2:3] == ["pending"], 5)
        own_server.stop(signal.SIGKILL)
    shutil.rmtree(runtime_directory.of_store(own_server.row("SELECT id FROM store")["id"]))
    own_server.start()
    resumed_and_finished(own_server, task)
    assert deaths(own_server, task) == 0
    assert moves(own_server, task["id"])[:4] == ["pending", "running", "pending", "running"]


def test_a_container_that_is_killed_is_started_again(server: Server):
    task = begun(server)
    podman("kill", server.container(task))
    wait_until(lambda: "pending" in moves(server, task["id"])[2:], 5)
    resumed_and_finished(server, task)


def test_a_container_that_somebody_removes_is_made_anew(server: Server):
    task = begun(server)
    podman("rm", "-f", "-t", "0", server.container(task))
    wait_until(lambda: "pending" in moves(server, task["id"])[2:], 5)
    resumed_and_finished(server, task)
    assert "new_container" in json.dumps(server.history(task["id"]))


def test_a_guest_daemon_that_is_killed_is_started_again(server: Server):
    task = begun(server)
    kill(child(first_process(server, task)))
    wait_until(lambda: "pending" in moves(server, task["id"])[2:], 5)
    resumed_and_finished(server, task)


def test_without_its_conmon_an_agent_goes_on(own_server: Server):
    task = begun(own_server)
    kill(parent(first_process(own_server, task)))
    resumed_and_finished(own_server, task)


def test_a_conmon_that_is_killed_with_the_server_is_noticed_at_the_next_start(own_server: Server):
    task = begun(own_server)
    own_server.stop(signal.SIGKILL)
    kill(parent(first_process(own_server, task)))
    own_server.start()
    resumed_and_finished(own_server, task)


def test_podmans_service_may_be_killed(own_server: Server):
    task = begun(own_server)
    for pid in services(own_server):
        os.kill(pid, signal.SIGKILL)
    other = own_server.dispatch(bash("echo fine"))
    assert own_server.wait(other["id"])["status"] == "finished"
    went_on_and_finished(own_server, task)


def services(server: Server) -> list[int]:
    found = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in found if b"podman" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_container_that_dies_again_and_again_is_a_failed_task_that_says_so(server: Server):
    task = server.dispatch(bash("sleep 600"))
    for attempt in range(1, 4):
        wait_until(lambda n=attempt: moves(server, task["id"]).count("running") == n, 60)
        wait_until(lambda: running_containers(task["id"]), 10)
        podman("kill", server.container(task))
        wait_until(lambda n=attempt: len(moves(server, task["id"])) > 2 * n, 5)
    ended = server.wait(task["id"], "failed")
    assert "died 3 times" in ended["error"] and "137" in ended["error"]
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 10)


def test_containers_without_a_task_are_removed_at_the_start(own_server: Server):
    own_server.run(bash("true"))  # the standard image is here from now on
    store = own_server.row("SELECT id FROM store")["id"]
    own_server.stop()
    stray = podman(
        "create",
        "--label",
        f"agentcontainer.store={store}",
        "--label",
        "agentcontainer.task=tsk_gone",
        standard_image(),
        "true",
    ).strip()
    assert stray[:12] in podman("ps", "-a", "-q")
    own_server.start()
    wait_until(lambda: stray[:12] not in podman("ps", "-a", "-q"), 5)
