"""Hibernation with real Pi in real containers: how an agent lies down, and everything that wakes it."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.fake_provider import Answers, FakeProvider
from tests.system.conftest import Server, podman, podman_things, wait_until
from tests.system.test_conversations import moves, running_containers
from tests.system.test_main_job import bash

ASLEEP = ["pending", "running", "hibernating"]
AWAKE = [*ASLEEP, "pending", "running", "finished"]
INSTALL = """echo kept > kept; mkdir -p pkg/heron && echo 'WORD = "by pip"' > pkg/heron/__init__.py
echo 'from setuptools import setup; setup(name="heron", version="1", packages=["heron"])' > pkg/setup.py
python3 -m venv --system-site-packages /tmp/venv
/tmp/venv/bin/pip install -q --no-index --no-build-isolation ./pkg"""


@pytest.fixture(scope="module")
def server(provided: Server) -> Server:
    return provided


def asleep(server: Server, *after: str, duration: str = "1h", before: str = "true") -> dict:
    """A task that hibernates; `after`: what it does once it is woken. Its container does not run any more."""
    task = server.dispatch(bash(before, f"hibernate --for {duration} --message 'for the mail'", *after))
    server.wait(task["id"], "hibernating")
    wait_until(lambda: not running_containers(task["id"]), 20)
    return server.get(f"/tasks/{task['id']}")


def wake(server: Server, task: dict, expect: int = 200, **body) -> dict:
    return server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake", **body}, expect)


def test_a_sleeping_task_says_until_when_and_uses_nothing(server: Server):
    task = asleep(server)
    until = datetime.fromisoformat(task["hibernateUntilAt"])
    assert timedelta(minutes=59) < until - datetime.now(UTC) <= timedelta(hours=1)
    assert (task["completedAt"], task["error"]) == (None, None)
    assert podman("ps", "--filter", f"name={task['id']}", "--format", "{{.Names}}") == ""
    assert server.get(f"/tasks/{task['id']}")["containerMinutes"] == task["containerMinutes"] > 0
    slept = next(e["data"] for e in server.history(task["id"]) if e["data"].get("event") == "slept")
    assert slept["reason"] == "for the mail"
    assert {a["status"] for a in server.get(f"/tasks/{task['id']}/activities")["data"]} == {"completed"}
    server.post(f"/tasks/{task['id']}/cancel", expect=200)
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 10)


def test_an_outside_event_wakes_it_with_its_files_its_session_and_what_it_installed(server: Server):
    task = asleep(
        server,
        "cat kept; /tmp/venv/bin/python -c 'import heron; print(heron.WORD)'",
        "grep -c 'by an event [o]utside' /var/lib/agentcontainer/sessions/*; "
        "grep -c 'Accepted. The task sleeps [n]ow' /var/lib/agentcontainer/sessions/*",
        before=INSTALL,
    )
    woken = wake(server, task)
    assert (woken["status"], woken["hibernateUntilAt"], woken["wakeDueId"]) == ("pending", None, None)
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert "kept\nby pip\n" in server.said(task["id"])
    assert "1\n1\n" in server.said(task["id"])
    assert moves(server, task["id"]) == AWAKE


@pytest.mark.parametrize(
    ("place", "milliseconds"),
    [("server", 0), ("simulated", 0), ("simulated", 10), ("server", 20), ("simulated", 40), ("simulated", 200)],
    indirect=["place"],
)
def test_a_wake_at_once_makes_no_more_paid_calls_than_a_later_one(
    place: Server, provider: FakeProvider, milliseconds: int
):
    """The run that lay down may still be there; only the next one calls the model, and hears why it was woken."""
    server = place
    provider.plan(
        Answers(calls=(("bash", {"command": "hibernate --for 1h"}),)),
        Answers(calls=(("finish", {"completion": "complete", "message": "Woken"}),)),
    )
    task = server.dispatch("Sleep, then finish.", model="claude-sonnet-4-5", provider="anthropic")
    wait_until(lambda: server.row("SELECT status FROM tasks WHERE id = ?", task["id"])["status"] == "hibernating", 60)
    time.sleep(milliseconds / 1000)
    wake(server, task)
    ended = server.wait(task["id"])
    assert (ended["status"], ended["result"], ended["tokenUsage"]["calls"]) == ("finished", "Woken", 2), ended["error"]
    assert "by an event outside" in str(provider.seen[1].json["messages"])


def test_a_message_wakes_it_and_the_agent_reads_it(server: Server):
    task = asleep(server, "grep -c 'woken from hibernation by this [m]essage' /var/lib/agentcontainer/sessions/*")
    wake(server, task, kind="message", message="The mail has come: it is the number 4711.")
    assert server.wait(task["id"])["status"] == "finished"
    assert "1\n" in server.said(task["id"])
    asked = [
        m["content"] for m in server.get(f"/tasks/{task['id']}/messages", order="asc")["data"] if m["role"] == "user"
    ]
    assert asked[1:] == ["The mail has come: it is the number 4711."]


def test_its_deadline_wakes_it(server: Server):
    task = server.dispatch(bash("hibernate --for 2s", "grep -c 'the time [u]ntil which' /var/lib/agentcontainer/s*/*"))
    ended = server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert moves(server, task["id"]) == AWAKE
    assert "1\n" in server.said(task["id"])


def test_the_native_tool_of_pi_does_the_same(server: Server, provider: FakeProvider):
    until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    provider.plan(
        Answers(calls=(("hibernate", {"until": until, "message": "later"}),)),
        Answers(calls=(("finish", {"completion": "complete", "message": "Slept well"}),)),
    )
    task = server.dispatch("Sleep, then finish.", model="claude-sonnet-4-5", provider="anthropic")
    server.wait(task["id"], "hibernating")
    wake(server, task)
    ended = server.wait(task["id"])
    assert (ended["status"], ended["result"]) == ("finished", "Slept well"), ended["error"]
    assert len(provider.seen) == 2
    assert "Accepted. The task sleeps now" in str(provider.seen[1].json["messages"])


def test_a_wake_for_another_sleep_is_refused(simulated: Server):
    task = asleep(simulated, "sleep 2; hibernate --for 1h")
    first = task["wakeDueId"]
    assert first
    wake(simulated, task, 409, wakeDueId="due_of_another")
    wake(simulated, task, wakeDueId=first)
    simulated.wait(task["id"], "running")
    wake(simulated, task, 409)
    again = simulated.wait(task["id"], "hibernating")
    assert again["wakeDueId"] not in (None, first)
    wake(simulated, task, 409, wakeDueId=first)
    wake(simulated, task, wakeDueId=again["wakeDueId"])
    assert simulated.wait(task["id"])["status"] == "finished"


def test_of_many_wakes_at_once_exactly_one_wins(simulated: Server):
    task = asleep(simulated)
    codes = []

    def ask() -> None:
        body = {"kind": "external_wake", "wakeDueId": task["wakeDueId"]}
        codes.append(simulated.client.post(f"/api/v1/tasks/{task['id']}/wake", json=body).status_code)

    callers = [threading.Thread(target=ask) for _ in range(10)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(codes) == [200] + [409] * 9
    assert simulated.wait(task["id"])["status"] == "finished"


def test_a_pruned_container_is_made_anew_on_the_same_workspace_and_an_event_says_so(server: Server):
    task = asleep(
        server,
        "cat kept; ls /tmp/installed; grep -c 'by an event [o]utside' /var/lib/agentcontainer/s*/*",
        before="echo kept > kept; echo installed > /tmp/installed",
    )
    podman("rm", "-f", server.container(task))
    wake(server, task)
    assert server.wait(task["id"])["status"] == "finished"
    said = server.said(task["id"])
    assert "kept\n" in said and "/tmp/installed: No such file" in said.replace("'", "") and "\n1\n" in said
    notices = [e["data"] for e in server.history(task["id"]) if e["event"] == "notice"]
    assert [notice["kind"] for notice in notices] == ["new_container"]


def test_other_models_and_limits_can_come_with_the_wake(simulated: Server, provider: FakeProvider):
    provider.plan(Answers(calls=(("finish", {"completion": "complete", "message": "By Claude"}),)))
    task = asleep(simulated)
    woken = wake(
        simulated, task, overrides={"model": "claude-sonnet-4-5", "provider": "anthropic", "maxRuntimeSeconds": 77}
    )
    assert woken["execution"]["model"] == "claude-sonnet-4-5"
    ended = simulated.wait(task["id"])
    assert (ended["status"], ended["result"]) == ("finished", "By Claude"), ended["error"]


def test_a_sleep_that_makes_no_sense_is_refused(server: Server):
    wrong = [
        "--for 0s",
        "--for 40d",
        "--until 2020-01-01T00:00:00Z",
        "--until tomorrow",
        "",
        "--for 1h --until 2030-01-01T00:00:00Z",
    ]
    task = server.run(bash(*(f"hibernate {arguments}; echo code $?" for arguments in wrong)))
    assert task["status"] == "finished"
    codes = [line for line in server.said(task["id"]).splitlines() if line.startswith("code ")]
    assert codes == ["code 2", "code 1", "code 1", "code 2", "code 2", "code 2"]
    assert "hibernating" not in moves(server, task["id"])


def test_a_sleeping_task_survives_a_restart_and_wakes_by_its_deadline(own_server: Server):
    task = own_server.dispatch(bash("echo a > kept", "hibernate --for 4s", "cat kept"))
    own_server.wait(task["id"], "hibernating")
    own_server.stop()
    own_server.start()
    ended = own_server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert moves(own_server, task["id"]) == AWAKE
