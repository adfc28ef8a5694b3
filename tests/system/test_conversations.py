"""Conversations with real Pi in real containers: turns, what is kept between them, and how they end."""

import time
from collections.abc import Iterator

import pytest

from tests.fake_provider import Answers, Fails, FakeProvider
from tests.system.conftest import Server, podman, podman_things, serving, wait_until
from tests.system.test_main_job import bash


@pytest.fixture(scope="module")
def server(far_end: FakeProvider, tmp_path_factory) -> Iterator[Server]:
    """Conversations keep their container for two seconds."""
    settings = {"AGENTCONTAINER_IDLE_SECONDS": "2", **far_end.environ()}
    with serving(tmp_path_factory.mktemp("conversations") / "data", **settings) as running:
        yield running


def moves(server: Server, task_id: str) -> list[str]:
    updates = [e["data"] for e in server.history(task_id) if e["event"] == "task.updated"]
    return [update["status"] for update in updates if update["event"] not in ("turn", "mode")]


def running_containers(task_id: str) -> str:
    return podman("ps", "--filter", f"name={task_id}", "--format", "{{.Names}}").strip()


def cancel(server: Server, task_id: str) -> None:
    server.post(f"/tasks/{task_id}/cancel", expect=200)


def test_a_message_is_answered_and_the_next_one_finds_files_and_session(server: Server):
    task = server.converse("Remember the word heron.\n" + bash("echo heron > word; echo written"))
    assert (task["mode"], task["status"], task["turnNumber"], task["turnStatus"]) == (
        "conversation",
        "pending",
        1,
        "queued",
    )
    first = server.answered(task["id"], 1)
    assert (first["status"], first["content"].strip()) == ("completed", "written")
    waiting = server.get(f"/tasks/{task['id']}")
    assert (waiting["status"], waiting["turnStatus"]) == ("awaiting_input", "completed")
    server.say(task["id"], bash("cat word; grep -c 'Remember the [w]ord heron' /var/lib/agentcontainer/sessions/*"))
    second = server.answered(task["id"], 2)
    assert second["content"].split() == ["heron", "1"]
    assert second["tokenUsage"]["calls"] == 2 and second["costUsd"] is not None
    assert moves(server, task["id"]) == ["pending", "running", "awaiting_input", "running", "awaiting_input"]
    cancel(server, task["id"])


def test_the_instructions_hold_for_every_turn(server: Server, provider: FakeProvider):
    provider.plan(Answers("One."), Answers("Two."))
    task = server.converse(
        "First?",
        instructions="Always answer like a sailor.",
        overrides={"model": "claude-sonnet-4-5", "provider": "anthropic"},
    )
    server.answered(task["id"], 1)
    server.say(task["id"], "Second?")
    assert server.answered(task["id"], 2)["content"] == "Two."
    assert all("Always answer like a sailor." in str(seen.json["system"]) for seen in provider.seen)
    assert len(provider.seen) == 2
    cancel(server, task["id"])


def test_messages_that_come_while_a_turn_runs_wait_and_are_taken_one_by_one(simulated: Server):
    task = simulated.converse(bash("sleep 2; echo one"))
    simulated.wait(task["id"], "running")
    queued = [simulated.say(task["id"], bash(f"echo {word}")) for word in ("two", "three")]
    assert [message["status"] for message in queued] == ["queued", "queued"]
    assert simulated.answered(task["id"], 3)["content"].strip() == "three"
    said = [(m["turnNumber"], m["role"], m["content"].strip()) for m in simulated.transcript(task["id"])]
    assert [s for s in said if s[1] == "assistant"] == [
        (1, "assistant", "one"),
        (2, "assistant", "two"),
        (3, "assistant", "three"),
    ]
    assert moves(simulated, task["id"]) == ["pending", "running", "awaiting_input"]
    activities = simulated.get(f"/conversations/{task['id']}/activities", order="asc")["data"]
    assert [a["turnNumber"] for a in activities] == [1, 2, 3]
    only = simulated.get(f"/conversations/{task['id']}/activities", fromTurn=2, toTurn=2)["data"]
    assert [(a["turnNumber"], a["toolKey"], a["status"]) for a in only] == [(2, "shell", "completed")]
    cancel(simulated, task["id"])


def test_the_transcript_comes_in_pages(simulated: Server):
    task = simulated.converse("Say one.")
    simulated.answered(task["id"], 1)
    first = simulated.get(f"/conversations/{task['id']}/messages", limit=1, order="asc")
    assert first["pageInfo"]["hasMore"]
    rest = simulated.get(f"/conversations/{task['id']}/messages", order="asc", cursor=first["pageInfo"]["nextCursor"])
    assert [m["role"] for m in (*first["data"], *rest["data"])] == ["user", "assistant"]
    assert not rest["pageInfo"]["hasMore"]
    cancel(simulated, task["id"])


def test_an_idle_container_is_stopped_and_kept_and_a_message_brings_it_back(server: Server):
    task = server.converse(bash("echo kept > file; echo installed > /tmp/package"))
    server.answered(task["id"], 1)
    assert running_containers(task["id"])
    before = server.get(f"/tasks/{task['id']}")["containerMinutes"]
    wait_until(lambda: not running_containers(task["id"]), 10)
    assert [name for name in podman_things() if task["id"] in name]
    assert server.get(f"/tasks/{task['id']}")["containerMinutes"] == before
    server.say(task["id"], bash("cat file /tmp/package"))
    assert server.answered(task["id"], 2)["content"].split() == ["kept", "installed"]
    assert moves(server, task["id"])[-3:] == ["pending", "running", "awaiting_input"]
    cancel(server, task["id"])


def test_attached_files_come_with_the_answer(server: Server):
    task = server.converse(bash("echo a,b > t.csv; attach t.csv; echo given"))
    answer = server.answered(task["id"], 1)
    assert [file["filename"] for file in answer["files"]] == ["t.csv"]
    assert answer["content"].strip().endswith("given")
    assert server.outputs(task["id"]) == {"t.csv": b"a,b\n"}
    server.say(task["id"], "And now nothing.")
    assert server.answered(task["id"], 2)["files"] == []
    cancel(server, task["id"])


def test_a_message_brings_files_of_its_own(server: Server):
    task = server.converse("Hello")
    server.answered(task["id"], 1)
    late = server.upload("late.txt", b"came later\n")
    message = server.say(task["id"], bash("cat ~/task_files/late.txt"), inputFiles=[{"fileId": late}])
    assert [file["id"] for file in message["files"]] == [late]
    assert server.answered(task["id"], 2)["content"].strip() == "came later"
    cancel(server, task["id"])


def test_another_model_holds_from_its_message_on_and_keeps_the_session(server: Server, provider: FakeProvider):
    provider.plan(Answers("By Claude."), Answers("By Claude again."))
    task = server.converse("First, " + bash("sleep 1; echo scripted"))
    server.wait(task["id"], "running")
    server.say(task["id"], "Second", overrides={"model": "claude-sonnet-4-5", "provider": "anthropic"})
    assert server.get(f"/tasks/{task['id']}")["execution"]["model"] == "scripted"
    assert server.answered(task["id"], 2)["content"] == "By Claude."
    assert server.answered(task["id"], 1)["content"].strip() == "scripted"
    assert server.get(f"/tasks/{task['id']}")["execution"]["model"] == "claude-sonnet-4-5"
    assert "sleep 1; echo scripted" in str(provider.seen[0].json["messages"])
    server.say(task["id"], "Third")
    assert server.answered(task["id"], 3)["content"] == "By Claude again."
    cancel(server, task["id"])


def test_a_message_that_fails_says_why_and_the_conversation_goes_on(simulated: Server, provider: FakeProvider):
    provider.plan(Fails(400, "the prompt is against the rules"), Answers("Fine."))
    task = simulated.converse("Bad", overrides={"model": "claude-sonnet-4-5", "provider": "anthropic"})
    wait_until(lambda: simulated.transcript(task["id"])[0]["status"] == "failed", 60)
    failed = simulated.transcript(task["id"])[0]
    assert "against the rules" in failed["error"]
    now = simulated.get(f"/tasks/{task['id']}")
    assert (now["status"], now["turnStatus"], now["error"]) == ("awaiting_input", "failed", None)
    simulated.say(task["id"], "Good")
    answer = simulated.answered(task["id"], 2)
    assert (answer["status"], answer["content"]) == ("completed", "Fine.")
    cancel(simulated, task["id"])


def test_a_turn_that_takes_too_long_fails_and_the_next_one_is_not_disturbed_by_it(server: Server):
    task = server.converse(bash("sleep 60; echo never"), overrides={"maxRuntimeSeconds": 3})
    server.say(task["id"], bash("echo fresh"), overrides={"maxRuntimeSeconds": 60})
    answer = server.answered(task["id"], 2)
    assert answer["content"].strip() == "fresh"
    asked = [m for m in server.transcript(task["id"]) if m["role"] == "user"]
    assert asked[0]["status"] == "failed" and "maxRuntimeSeconds" in asked[0]["error"]
    cancel(server, task["id"])


def test_a_conversation_nobody_goes_on_with_expires_and_leaves_nothing(simulated: Server):
    task = simulated.converse("Hello", sessionTtlSeconds=60)
    simulated.answered(task["id"], 1)
    assert simulated.get(f"/tasks/{task['id']}")["sessionTtlSeconds"] == 60
    simulated.execute("UPDATE tasks SET expires_at = '2020-01-01T00:00:00.000Z' WHERE id = ?", task["id"])
    assert simulated.wait(task["id"], "expired")["completedAt"]
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 10)
    assert (
        "expired"
        in simulated.post(f"/conversations/{task['id']}/messages", {"content": "Too late"}, 409)["error"]["message"]
    )


MOMENTS = pytest.mark.parametrize(
    ("place", "moment"),
    [("simulated", "pending"), ("server", "running"), ("simulated", "awaiting_input"), ("server", "stopped")],
    indirect=["place"],
)


@MOMENTS
def test_a_conversation_can_be_cancelled_at_any_moment(place: Server, moment: str):
    server = place
    task = server.converse(bash("sleep 3") if moment == "running" else "Hello")
    if moment != "pending":
        server.wait(task["id"], "running" if moment == "running" else "awaiting_input")
    if moment == "stopped":
        wait_until(lambda: not running_containers(task["id"]), 15)
    assert server.post(f"/tasks/{task['id']}/cancel", expect=200)["status"] == "cancelled"
    wait_until(lambda: not [name for name in podman_things() if task["id"] in name], 10)
    assert not [m for m in server.transcript(task["id"]) if m["status"] in ("queued", "running")]


@MOMENTS
def test_a_conversation_that_is_made_autonomous_goes_on_until_finish(place: Server, moment: str):
    server = place
    work = bash("sleep 2; echo done > out.txt", "grep -c 'nobody answers you' /var/lib/agentcontainer/sessions/*")
    task = server.converse(work)
    if moment != "pending":
        server.wait(task["id"], "running" if moment == "running" else "awaiting_input")
    if moment == "stopped":
        wait_until(lambda: not running_containers(task["id"]), 15)
    switched = server.client.patch(f"/api/v1/tasks/{task['id']}", json={"mode": "autonomous"}).json()
    assert (switched["mode"], switched["turnNumber"], switched["sessionTtlSeconds"]) == ("autonomous", None, None)
    ended = server.wait(task["id"], "finished")
    assert ended["result"] == "Done"
    assert {m["status"] for m in server.transcript(task["id"])} == {"completed"}
    assert server.post(f"/conversations/{task['id']}/messages", {"content": "More"}, 409)


def test_conversations_do_not_hibernate_and_autonomous_tasks_do_not_attach(simulated: Server):
    task = simulated.converse(bash("hibernate --for 1h; echo code $?"))
    answer = simulated.answered(task["id"], 1)
    outputs = simulated.said(task["id"])
    assert "can't hibernate" in outputs and "code 1" in outputs
    assert answer["status"] == "completed"
    cancel(simulated, task["id"])


def test_a_conversation_ends_with_finish_which_is_validated_as_any_other(server: Server):
    policy = {"mode": "named", "files": [{"name": "report"}]}
    task = server.converse("Hello", overrides={"outputPolicy": policy})
    server.answered(task["id"], 1)
    refused = "finish --complete-task --message M; echo code $?"
    accepted = 'finish --complete-task --message "All is done" --output report=a.md b.png'
    server.say(task["id"], bash("touch a.md b.png", refused, accepted))
    ended = server.wait(task["id"], "finished")
    assert (ended["result"], ended["turnStatus"], ended["metadata"]["completion"]) == (
        "All is done",
        "completed",
        "complete",
    )
    assert "report" in server.said(task["id"]) and "code 1" in server.said(task["id"])
    files = server.get(f"/tasks/{task['id']}/files")["data"]
    assert {file["filename"]: file["outputName"] for file in files} == {"a.md": "report", "b.png": None}
    transcript = server.transcript(task["id"])
    assert [(m["role"], m["status"]) for m in transcript] == [("user", "completed"), ("assistant", "completed")] * 2
    assert {file["filename"] for file in transcript[-1]["files"]} == {"a.md", "b.png"}
    assert server.post(f"/conversations/{task['id']}/messages", {"content": "More"}, 409)


def test_idle_conversations_give_their_room_to_tasks_that_wait(tmp_path):
    with serving(tmp_path / "data", AGENTCONTAINER_MAX_RUNNING="2", AGENTCONTAINER_IDLE_SECONDS="600") as server:
        idle = [server.converse("Hello") for _ in range(2)]
        for task in idle:
            server.answered(task["id"], 1)
        began = time.monotonic()
        assert server.run(bash("echo there is room"))["status"] == "finished"
        assert time.monotonic() - began < 60
        assert len([task for task in idle if running_containers(task["id"])]) == 1
        assert {server.get(f"/tasks/{task['id']}")["status"] for task in idle} == {"awaiting_input"}
