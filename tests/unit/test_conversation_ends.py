"""How a conversation ends: the turn at work and the messages that wait are told, whatever ended it."""

import pytest

from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import db, tasks, transcript
from tests.conftest import Clock
from tests.unit.test_timers import running


async def ended(host: Host, client, end) -> tuple[dict, list[dict]]:
    """The task and its messages after `end`; one follow-up was waiting."""
    task = running(host, conversation=True)
    said = await client.post(f"/conversations/{task['id']}/messages", json={"content": "And then?"})
    assert said.status_code == 201
    end(task)
    answered = (await client.get(f"/tasks/{task['id']}")).json()
    listed = (await client.get(f"/conversations/{task['id']}/messages", params={"order": "asc"})).json()["data"]
    return answered, listed


@pytest.mark.parametrize("working", [False, True])
async def test_when_its_container_dies_three_times_the_turn_has_failed_and_every_message_says_why(
    host: Host, clock: Clock, client, working
):
    def die(task: dict) -> None:
        if working:
            tasks.turn_runs(host.db, task, clock())
        for _ in range(3):
            tasks.died(host.db, task["id"], clock(), last_words="segmentation fault")
            if tasks.get(host.db, task["id"])["status"] == "pending":
                tasks.apply(host.db, task["id"], "started", clock())

    task, listed = await ended(host, client, die)
    assert (task["status"], task["turnStatus"]) == ("failed", "failed")
    assert [message["status"] for message in listed] == ["failed", "failed"]
    assert all("segmentation fault" in message["error"] for message in [*listed, task])


@pytest.mark.parametrize("event", ["failed", "cancelled"])
async def test_whatever_ends_it_the_turn_has_failed_with_a_reason(host: Host, clock: Clock, client, event):
    error = {"error": "No such image."} if event == "failed" else {}
    task, listed = await ended(host, client, lambda task: tasks.apply(host.db, task["id"], event, clock(), **error))
    assert (task["status"], task["turnStatus"]) == (event, "failed")
    assert {message["status"] for message in listed} == {"failed"} and all(message["error"] for message in listed)
    last = (await client.get(f"/tasks/{task['id']}/events", params={"order": "desc"})).json()["data"]
    assert next(one["data"] for one in last if one["event"] == "task.updated")["turnStatus"] == "failed"


async def test_a_turn_that_is_over_stays_as_it_is(host: Host, clock: Clock, client):
    task = running(host, conversation=True)
    tasks.end_turn(host.db, task["id"], None, clock())
    tasks.apply(host.db, task["id"], "expired", clock())
    assert (await client.get(f"/tasks/{task['id']}")).json()["turnStatus"] == "completed"
    assert {row["status"] for row in db.rows(host.db, "SELECT status FROM messages")} == {"completed"}


async def test_when_it_finishes_a_message_that_waited_was_not_taken(host: Host, clock: Clock, client):
    def finish(task: dict) -> None:
        transcript.said(host.db, task, "Bye", clock())
        tasks.apply(host.db, task["id"], "finished", clock(), result="Bye", completion="complete")

    task, listed = await ended(host, client, finish)
    assert (task["status"], task["turnStatus"]) == ("finished", "completed")
    assert [(one["role"], one["status"], bool(one["error"])) for one in listed] == [
        ("user", "completed", False),
        ("user", "failed", True),
        ("assistant", "completed", False),
    ]
