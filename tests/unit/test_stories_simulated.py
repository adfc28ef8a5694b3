"""Stories of tasks on the simulated backend: what the system tests tell of Podman, in milliseconds."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from agentcontainer_local.engine import supervisor
from agentcontainer_local.sandbox.simulated import Attach, Die, Exceed, Fail, Finish, Hibernate, Say, Tool, Wait, script
from tests import fake_provider
from tests.fake_provider import Answers, Fails, FakeProvider
from tests.fake_provider import bash as calls_bash
from tests.simulated import SimulatedServer, serving

CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}  # 3 USD a million tokens in, 15 out
WORK = Answers(calls=(("bash", {"command": "echo more >> out.txt"}),), input_tokens=5000, output_tokens=250)
AWAKE = ["pending", "running", "hibernating", "pending", "running", "finished"]


@pytest.fixture
def server(simulated_server: SimulatedServer) -> SimulatedServer:
    return simulated_server


@pytest.fixture(scope="module")
def far_end():
    with fake_provider.serving() as fake:
        yield fake


@pytest.fixture
async def provided(far_end: FakeProvider, tmp_path, clock) -> AsyncIterator[SimulatedServer]:
    """A server with a provider."""
    far_end.forget()
    async with serving(tmp_path, clock, far_end.environ()) as server:
        yield server


def bash(*commands: str, finish: str | None = None) -> str:
    end = f"```finish\n{finish}\n```\n" if finish else ""
    return "Do this:\n" + "".join(f"```bash\n{command}\n```\n" for command in commands) + end


# The main job


async def test_a_task_turns_an_uploaded_file_into_an_output(server: SimulatedServer):
    csv = await server.upload("numbers.csv", b"1\n2\n3\n")
    work = bash("cat task_files/numbers.csv > copy.txt", finish='--complete-task --message "Copied" copy.txt')
    task = await server.run(work, files=[csv])
    assert (task["status"], task["result"]) == ("finished", "Copied"), task["error"]
    assert task["metadata"]["completion"] == "complete"
    assert task["execution"] == {"provider": "anthropic", "model": "scripted", "weakModel": None}
    assert await server.outputs(task["id"]) == {"copy.txt": b"1\n2\n3\n"}
    assert task["tokenUsage"]["calls"] == 2
    assert task["startedAt"] and task["completedAt"]
    assert await server.moves(task["id"]) == ["pending", "running", "finished"]


async def test_a_finished_task_leaves_nothing(server: SimulatedServer):
    task = await server.run(bash("echo a > a"))
    await server.settle()
    assert task["id"] not in server.kept()


async def test_the_agent_finds_its_task_its_rules_and_its_files(server: SimulatedServer):
    given = [await server.upload("same.txt", words) for words in (b"first", b"second")]
    work = bash("pwd; cat ~/task/TASK.md task/HARNESS.md task_files/same.txt task_files/same-2.txt")
    said = await server.said((await server.run(work, files=given))["id"])
    for seen in ("/workspace\n", "Do this:", "How work is done here", "same-2.txt", "firstsecond"):
        assert seen in said


async def test_an_incomplete_finish_is_finished_and_says_so(server: SimulatedServer):
    task = await server.run(bash(finish='--incomplete-task --message "No data"'))
    assert (task["status"], task["metadata"]["completion"], task["result"]) == ("finished", "incomplete", "No data")


async def test_named_outputs_come_back_under_their_names_after_a_refused_finish(server: SimulatedServer):
    policy = {"mode": "named", "files": [{"name": "report"}, {"name": "dataset"}]}
    early = "echo a > r.md; echo b > d.csv; finish --complete-task --message Early || echo refused with $?"
    end = "--complete-task --message Done --output report=r.md --output dataset=d.csv"
    task = await server.run(bash(early, finish=end), outputPolicy=policy)
    assert (task["status"], task["result"]) == ("finished", "Done"), task["error"]
    files = (await server.get(f"/tasks/{task['id']}/files"))["data"]
    assert {file["outputName"]: file["filename"] for file in files} == {"report": "r.md", "dataset": "d.csv"}
    said = await server.said(task["id"])
    assert "Required outputs are missing: report, dataset" in said and "refused with 1" in said


async def test_an_agent_that_stops_without_finish_is_told_twice_and_then_failed(server: SimulatedServer):
    end = "--complete-task --message Done not-there.txt"
    task = await server.run(bash(finish=end), outputPolicy={"mode": "at_least_one"})
    assert task["status"] == "failed" and "without calling finish" in task["error"]


async def test_the_runtime_limit_ends_a_task_and_its_run(server: SimulatedServer):
    task = await server.dispatch(bash("sleep 600"), maxRuntimeSeconds=4)
    await server.wait(task["id"], "running")
    await server.advance(5)
    ended = await server.wait(task["id"])
    assert ended["status"] == "failed" and "maxRuntimeSeconds" in ended["error"]
    assert ended["containerMinutes"] * 60 < 6
    assert task["id"] not in server.kept()


async def test_the_agent_is_told_when_its_time_is_nearly_over(server: SimulatedServer):
    task = await server.dispatch(bash("sleep 4", "sleep 4"), softFinishAfterSeconds=2, maxRuntimeSeconds=60)
    await server.wait(task["id"], "running")
    await server.advance(2)
    await server.advance(10)
    assert (await server.wait(task["id"]))["status"] == "finished"
    session = await server.get(f"/tasks/{task['id']}")
    assert session["tokenUsage"]["calls"] == 3


async def test_a_cancelled_task_loses_its_run(server: SimulatedServer):
    task = await server.dispatch(bash("sleep 600"))
    await server.wait(task["id"], "running")
    assert (await server.post(f"/tasks/{task['id']}/cancel", expect=200))["status"] == "cancelled"
    await server.settle()
    assert task["id"] not in server.kept()


async def test_a_task_whose_image_does_not_exist_fails_and_names_it(server: SimulatedServer):
    server.simulation.missing_images.add("localhost/no-such-image:1")
    runtime = {"containerImage": "localhost/no-such-image:1", "agentRuntime": "pi"}
    defaults = {"model": "scripted", "internetAccess": False, "maxRuntimeSeconds": 60}
    agent = await server.post("/agents", {"name": "lost", "basePrompt": "W.", "runtime": runtime, "defaults": defaults})
    task = await server.run(bash("true"), agent=agent["id"])
    assert task["status"] == "failed" and "localhost/no-such-image:1" in task["error"]


async def test_timers_go_on_after_one_has_failed(server: SimulatedServer, caplog: pytest.LogCaptureFixture):
    server.host.db.conn.execute("PRAGMA query_only=1")
    await server.advance(10)
    assert "a timer failed: scan" in caplog.text
    server.host.db.conn.execute("PRAGMA query_only=0")
    task = await server.dispatch(bash("hibernate --for 1h", "echo awake"))
    await server.wait(task["id"], "hibernating")
    await server.advance(3600)
    assert (await server.get(f"/tasks/{task['id']}"))["status"] == "finished"


async def test_a_task_waits_for_room_and_shows_its_place(server: SimulatedServer):
    running = [await server.dispatch(bash("sleep 600")) for _ in range(4)]
    for task in running:
        await server.wait(task["id"], "running")
    waiting = [await server.dispatch(bash("true")) for _ in range(2)]
    assert [(await server.get(f"/tasks/{task['id']}"))["queuePosition"] for task in waiting] == [1, 2]
    await server.post(f"/tasks/{running[0]['id']}/cancel", expect=200)
    assert (await server.wait(waiting[0]["id"]))["status"] == "finished"


async def test_a_place_that_is_away_lets_tasks_wait_and_says_why(server: SimulatedServer, monkeypatch):
    for pause in ("RETRY_SECONDS", "LOOK_AGAIN_SECONDS"):  # of the engine, by the event loop's clock
        monkeypatch.setattr(supervisor, pause, 0.01)
    server.simulation.away = "the machine is being repaired"
    task = await server.dispatch(bash("true"))
    await server.settle()
    assert (await server.get(f"/tasks/{task['id']}"))["status"] == "pending"
    assert (await server.client.get("http://127.0.0.1/readyz")).text == "simulated: the machine is being repaired\n"
    server.simulation.away = None
    await server.advance(15)
    assert (await server.wait(task["id"]))["status"] == "finished"


# Deaths, and servers that end


async def test_an_agent_that_is_killed_is_started_again_and_goes_on(server: SimulatedServer):
    server.script = lambda turn: script(
        Tool("echo once", files={"log": b"once\n"}), Die(), Finish("Done", {"log": b"x"})
    )
    task = await server.run("Die once.")
    assert task["status"] == "finished", task["error"]
    assert await server.moves(task["id"]) == ["pending", "running", "pending", "running", "finished"]


async def test_an_agent_that_dies_again_and_again_is_a_failed_task_with_its_last_words(server: SimulatedServer):
    task = await server.run(bash(*["kill -9 $PPID; sleep 30"] * 4))
    assert task["status"] == "failed"
    assert "died 3 times" in task["error"] and "SIGKILL" in task["error"]


async def test_a_broken_limit_ends_the_task_and_says_how_to_raise_it(server: SimulatedServer):
    server.script = lambda turn: script(Exceed("memory_mb", 5000))
    task = await server.run("Use it all.")
    assert task["error"].startswith("The task used 5000 MB of memory; its limit is 4096 MB. Raise limits.memoryMb")


async def test_what_is_written_to_disk_is_measured(server: SimulatedServer):
    steps = [
        f"cat {name} {name} {name} {name} {name} {name} {name} {name} > {name}x" for name in ("a", "ax", "axx", "axxx")
    ]
    task = await server.run(bash(f"echo {'0123456789' * 500} > a", *steps), limits={"workspaceMb": 16})
    assert task["status"] == "failed" and "MB to disk; its limit is 16 MB" in task["error"]


async def test_a_server_that_goes_away_finds_its_running_agents_again(server: SimulatedServer):
    task = await server.dispatch(
        bash("echo one >> log", "sleep 6; echo two >> log", finish="--complete-task --message M log")
    )
    await server.until(task["id"], lambda task: task["tokenUsage"]["calls"] == 2)
    await server.stop()
    await server.start()
    await server.advance(6)
    assert (await server.wait(task["id"]))["status"] == "finished"
    assert await server.outputs(task["id"]) == {"log": b"one\ntwo\n"}
    assert await server.moves(task["id"]) == ["pending", "running", "finished"]


async def test_a_server_that_suspends_its_agents_goes_on_with_them_at_its_next_start(server: SimulatedServer):
    task = await server.dispatch(bash("echo one >> log", "sleep 6", finish="--complete-task --message Done log"))
    await server.until(task["id"], lambda task: task["tokenUsage"]["calls"] == 2)
    await server.stop(suspend=True)
    await server.start()
    ended = await server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert await server.outputs(task["id"]) == {"log": b"one\n"}
    assert await server.moves(task["id"]) == ["pending", "running", "pending", "running", "finished"]


# Hibernation


async def test_a_sleeping_task_says_until_when_and_its_deadline_wakes_it(server: SimulatedServer):
    task = await server.dispatch(bash("echo kept > kept", "hibernate --for 7d --message 'for the mail'", "cat kept"))
    asleep = await server.wait(task["id"], "hibernating")
    until = datetime.fromisoformat(asleep["hibernateUntilAt"])
    assert until - server.clock.at == timedelta(days=7)
    slept = [event["data"] for event in await server.history(task["id"]) if event["data"].get("event") == "slept"]
    assert slept[0]["reason"] == "for the mail"
    await server.advance(7 * 86_400)
    ended = await server.wait(task["id"])
    assert ended["status"] == "finished", ended["error"]
    assert await server.moves(task["id"]) == AWAKE
    assert "kept\n" in await server.said(task["id"])
    assert ended["containerMinutes"] * 60 < 60


async def test_an_event_outside_wakes_it_once(server: SimulatedServer):
    task = await server.dispatch(bash("hibernate --for 1h", "echo awake"))
    due = (await server.wait(task["id"], "hibernating"))["wakeDueId"]
    await server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake", "wakeDueId": "due_of_another"}, 409)
    await server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake", "wakeDueId": due}, 200)
    assert (await server.wait(task["id"]))["status"] == "finished"
    await server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake"}, 409)
    assert await server.moves(task["id"]) == AWAKE


async def test_a_message_wakes_it_and_the_agent_reads_it(server: SimulatedServer):
    heard = []

    def scripts(turn):
        heard.append(turn.message)
        return script(Hibernate(3600), Finish("Read"))

    server.script = scripts
    task = await server.dispatch("Wait for the mail.")
    await server.wait(task["id"], "hibernating")
    await server.post(f"/tasks/{task['id']}/wake", {"kind": "message", "message": "It is number 4711."}, 200)
    assert (await server.wait(task["id"]))["result"] == "Read"
    assert heard[1] == "You were woken from hibernation by this message:\n\nIt is number 4711."


# Conversations


async def test_a_message_is_answered_and_the_next_one_finds_the_files(server: SimulatedServer):
    task = await server.converse("Remember the word heron.\n" + bash("echo heron > word; echo written"))
    assert (task["status"], task["turnNumber"], task["turnStatus"]) == ("pending", 1, "queued")
    first = await server.answered(task["id"], 1)
    assert (first["status"], first["content"].strip()) == ("completed", "written")
    await server.say(task["id"], bash("cat word"))
    second = await server.answered(task["id"], 2)
    assert (second["content"].strip(), second["tokenUsage"]["calls"]) == ("heron", 2)
    assert await server.moves(task["id"]) == ["pending", "running", "awaiting_input", "running", "awaiting_input"]


async def test_messages_that_come_while_a_turn_runs_are_taken_one_by_one(server: SimulatedServer):
    task = await server.converse(bash("sleep 2; echo one"))
    await server.wait(task["id"], "running")
    queued = [await server.say(task["id"], bash(f"echo {word}")) for word in ("two", "three")]
    assert [message["status"] for message in queued] == ["queued", "queued"]
    await server.advance(2)
    assert (await server.answered(task["id"], 3))["content"].strip() == "three"
    said = [(one["turnNumber"], one["content"].strip()) for one in await server.transcript(task["id"])]
    assert [words for words in said if "```" not in words[1]] == [(1, "one"), (2, "two"), (3, "three")]


async def test_an_idle_run_is_stopped_and_a_message_brings_it_back(server: SimulatedServer):
    task = await server.converse(bash("echo kept > file; echo installed > /tmp/package"))
    await server.answered(task["id"], 1)
    await server.advance(61)
    await server.say(task["id"], bash("cat file /tmp/package"))
    assert (await server.answered(task["id"], 2))["content"].split() == ["kept", "installed"]
    assert (await server.moves(task["id"]))[-3:] == ["pending", "running", "awaiting_input"]


async def test_attached_files_come_with_the_answer(server: SimulatedServer):
    server.script = lambda turn: script(Attach({"t.csv": b"a,b\n"}), Say("given")) if "file" in turn.message else None
    task = await server.converse("A file, please.")
    answer = await server.answered(task["id"], 1)
    assert ([file["filename"] for file in answer["files"]], answer["content"]) == (["t.csv"], "given")
    assert await server.outputs(task["id"]) == {"t.csv": b"a,b\n"}
    await server.say(task["id"], "And now nothing.")
    assert (await server.answered(task["id"], 2))["files"] == []


async def test_a_turn_that_fails_says_why_and_the_conversation_goes_on(server: SimulatedServer):
    server.script = lambda turn: script(
        Fail("the prompt is against the rules") if "Bad" in turn.message else Say("Fine.")
    )
    task = await server.converse("Bad")
    failed = await server.until(task["id"], lambda task: task["turnStatus"] == "failed")
    assert (failed["status"], failed["error"]) == ("awaiting_input", None)
    assert (await server.transcript(task["id"]))[0]["error"] == "the prompt is against the rules"
    await server.say(task["id"], "Good")
    assert (await server.answered(task["id"], 2))["content"] == "Fine."


async def test_a_conversation_nobody_goes_on_with_expires_and_leaves_nothing(server: SimulatedServer):
    task = await server.converse("Hello", sessionTtlSeconds=604_800)
    await server.answered(task["id"], 1)
    await server.advance(604_799)
    assert (await server.get(f"/tasks/{task['id']}"))["status"] == "awaiting_input"
    await server.advance(2)
    assert (await server.wait(task["id"]))["status"] == "expired"
    await server.settle()
    assert task["id"] not in server.kept()


async def test_a_conversation_that_is_made_autonomous_goes_on_until_finish(server: SimulatedServer):
    task = await server.converse(bash("sleep 2; echo done > out.txt"))
    await server.wait(task["id"], "running")
    switched = (await server.client.patch(f"/tasks/{task['id']}", json={"mode": "autonomous"})).json()
    assert (switched["mode"], switched["turnNumber"]) == ("autonomous", None)
    await server.advance(2)
    ended = await server.wait(task["id"])
    assert (ended["status"], ended["result"]) == ("finished", "Done"), ended["error"]


async def test_idle_conversations_give_their_room_to_tasks_that_wait(tmp_path, clock):
    async with serving(tmp_path, clock, max_running=1, idle_seconds=600) as server:
        idle = await server.converse("Hello")
        await server.answered(idle["id"], 1)
        assert (await server.run(bash("echo there is room")))["status"] == "finished"
        assert (await server.get(f"/tasks/{idle['id']}"))["status"] == "awaiting_input"


# Budgets, and providers


async def test_out_of_its_budget_the_agent_is_asked_to_finish_with_what_it_has(
    provided: SimulatedServer, far_end: FakeProvider
):
    finish = calls_bash('finish --incomplete-task --message "All that there was money for" out.txt')
    far_end.plan([WORK] * 12, finish)
    task = await provided.run("Make out.txt", **CLAUDE, maxCostUsd=0.30)
    assert (task["status"], task["metadata"]["completion"]) == ("finished", "incomplete"), task["error"]
    told = [seen for seen in far_end.seen if b"is used up, but for a last small part" in seen.body]
    assert 0 < len(told) < len(far_end.seen)
    assert task["budget"]["usedCostUsd"] <= 0.30
    assert task["tokenUsage"]["costUsd"] == task["budget"]["usedCostUsd"] > 0


async def test_an_agent_that_does_not_finish_then_fails_its_task_with_a_clear_error(
    provided: SimulatedServer, far_end: FakeProvider
):
    far_end.plan([WORK] * 50)
    task = await provided.run("Make out.txt", **CLAUDE, maxTokens=60_000)
    assert task["status"] == "failed"
    assert task["error"].startswith("The budget is used up: the task's maxTokens of 60000.")
    assert task["budget"]["usedTokens"] <= 60_000


@pytest.mark.parametrize("provider", ["anthropic", "openai", "openrouter"])
async def test_every_wire_format_is_spoken(provided: SimulatedServer, far_end: FakeProvider, provider: str):
    named = {"completion": "complete", "message": "By tool", "files": ["a.txt"]}
    write = Answers("I write.", (("write", {"path": "a.txt", "content": "A"}),))
    far_end.plan(write, calls_bash("cat a.txt"), Answers(calls=(("finish", named),)))
    task = await provided.run("Write.", provider=provider, model="some-model")
    assert (task["status"], task["result"]) == ("finished", "By tool"), task["error"]
    assert await provided.outputs(task["id"]) == {"a.txt": b"A"}
    assert task["tokenUsage"]["inputTokens"] == 300
    asked = json.dumps(far_end.seen[2].json)
    assert "I write." in asked and "cat a.txt" in asked


async def test_a_provider_that_is_overloaded_is_asked_again(provided: SimulatedServer, far_end: FakeProvider):
    far_end.plan(Fails(529), calls_bash("finish --complete-task --message Patience"))
    task = await provided.dispatch("Wait.", **CLAUDE)
    await provided.until(task["id"], lambda task: task["tokenUsage"]["calls"] == 1)
    while (await provided.get(f"/tasks/{task['id']}"))["status"] in ("pending", "running"):
        await provided.advance(2)
    assert (await provided.wait(task["id"]))["result"] == "Patience"
    notices = [event["data"] for event in await provided.history(task["id"]) if event["event"] == "notice"]
    assert [(notice["kind"], notice["attempt"]) for notice in notices] == [("retrying", 1)]


async def test_a_provider_that_refuses_fails_the_task_with_its_words(provided: SimulatedServer, far_end: FakeProvider):
    far_end.plan(Fails(400, "the prompt is against the rules"))
    task = await provided.run("Bad.", **CLAUDE)
    assert task["status"] == "failed" and "against the rules" in task["error"]


# Time


@pytest.mark.slow
async def test_forty_tasks_are_done_while_the_clock_stands_still(tmp_path, clock):
    async with serving(tmp_path, clock, max_running=8) as server:
        server.script = lambda turn: script(Tool("make", "made"), Wait(0), Finish("Done", {"a": b"A"}))
        tasks = [await server.dispatch(f"Number {number}") for number in range(40)]
        assert {(await server.wait(task["id"]))["status"] for task in tasks} == {"finished"}
