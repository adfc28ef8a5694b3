"""Faults that a test asks for, as a client of the server sees them."""

import re
import time

import httpx
import pytest

from agentcontainer_local.client import Client, ClientError
from agentcontainer_local.process import failpoints
from agentcontainer_local.testing import Server, finish, say, server, tool
from agentcontainer_local.testing.faults import BadFault

ENDED = ("finished", "failed", "cancelled")
MODELS = [("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5"), ("openrouter", "openai/gpt-5")]
TASKS = "/agents/agt_standard_coding/tasks"


@pytest.fixture
def http(ac: Server):
    with httpx.Client(base_url=f"{ac.url}/api/v1", headers={"authorization": f"Bearer {ac.key}"}, timeout=20) as http:
        yield http


def dispatched(ac: Server, provider: str = "anthropic", model: str = "claude-sonnet-4-5", text: str = "Work.", **more):
    overrides = {"provider": provider, "model": model}
    return ac.client.create_task("agt_standard_coding", instructions=text, overrides=overrides, **more).id


def ended(ac: Server, task_id: str):
    """The task after its end; the agent's pauses are skipped."""
    for _ in range(2000):
        task = ac.client.get_task(task_id)
        if task.status in ENDED:
            return task
        if any(event.data.get("kind") == "retrying" for event in ac.client.list_events(task_id)):
            ac.clock.advance("1m")
        time.sleep(0.01)
    raise AssertionError(f"the task is still {task.status}")


def retries(ac: Server, task_id: str) -> list[str]:
    return [event.data["message"] for event in ac.client.list_events(task_id) if event.data.get("kind") == "retrying"]


def calls(ac: Server, task_id: str) -> list[int]:
    return [call.http_status for call in ac.client.list_model_calls(task_id)]


# The model provider


@pytest.mark.parametrize(("provider", "model"), MODELS)
@pytest.mark.parametrize(("fault", "words"), [(429, "answered 429"), (529, "answered 529"), ("timeout", "300 s")])
def test_a_call_that_fails_is_tried_again_and_the_task_finishes(ac: Server, provider, model, fault, words):
    ac.script(tool("make", output="ok"), finish("Built"))
    planned = ac.faults.provider(fault, call=2)
    task = ended(ac, dispatched(ac, provider, model))
    assert (task.status, task.result, planned.happened) == ("finished", "Built", 1)
    assert [words in message for message in retries(ac, task.id)] == [True]
    assert calls(ac, task.id) == [200, 504 if fault == "timeout" else fault, 200]


def test_a_provider_that_asks_for_a_pause_is_left_alone_for_so_long(ac: Server):
    ac.faults.provider(429, retry_after=0.2)
    task = ended(ac, dispatched(ac))
    assert task.status == "finished" and calls(ac, task.id) == [429, 200]


def test_a_provider_that_fails_again_and_again_fails_the_task(ac: Server):
    ac.faults.provider(529, times=50)
    task = ended(ac, dispatched(ac))
    assert task.status == "failed" and "answered 529" in task.error and "6 times in a row" in task.error


@pytest.mark.parametrize(("provider", "model"), MODELS)
@pytest.mark.parametrize("pieces", [1, 3, 500])
def test_a_stream_that_is_cut_is_asked_for_again(ac: Server, provider, model, pieces):
    ac.script(tool("echo " + "x" * 200, output="ok"), finish("Done anyway"))
    planned = ac.faults.provider("cut_stream", pieces=pieces)
    task = ended(ac, dispatched(ac, provider, model))
    assert (task.status, task.result, planned.happened) == ("finished", "Done anyway", 1)
    assert "in the middle of its answer" in retries(ac, task.id)[0]


def test_a_slow_stream_takes_its_time_by_the_servers_clock(ac: Server):
    ac.script(finish("At last"))
    planned = ac.faults.provider("slow_stream", seconds=3600)
    id = dispatched(ac)
    for _ in range(500):
        if planned.happened and ac.client.get_task(id).model_call is not None:
            break
        time.sleep(0.01)
    assert ac.client.get_task(id).status == "running"
    for _ in range(500):
        ac.clock.advance("1h")
        if (task := ac.client.get_task(id)).status in ENDED:
            break
        time.sleep(0.01)
    assert task.status == "failed" and "seconds" in task.error  # maxRuntimeSeconds of the task is less
    ac.faults.clear()
    ac.faults.provider("slow_stream", seconds=0.01)
    assert ended(ac, dispatched(ac)).result == "At last"


@pytest.mark.parametrize(("provider", "model"), MODELS)
def test_a_model_that_refuses_fails_the_task(ac: Server, provider, model):
    ac.faults.provider("refusal")
    task = ended(ac, dispatched(ac, provider, model))
    assert task.status == "failed" and re.search("refused|content_filter", task.error)
    assert calls(ac, task.id) == [200]


def test_a_prompt_that_is_too_long_is_told(ac: Server):
    ac.faults.provider("overflow", times=50)
    task = ended(ac, dispatched(ac))
    assert task.status == "failed" and "prompt is too long" in task.error


def test_a_fault_is_for_the_tasks_that_it_names(ac: Server):
    ac.faults.provider("refusal", instructions="Draw", metadata={"ticket": 7})
    others = [dispatched(ac, text="Draw a cat"), dispatched(ac, text="Write", metadata={"ticket": 7})]
    assert [ended(ac, one).status for one in others] == ["finished", "finished"]
    assert ended(ac, dispatched(ac, text="Draw a cat", metadata={"ticket": 7, "more": 1})).status == "failed"


def test_a_pattern_chooses_tasks_too(ac: Server, http):
    ac.faults.provider("refusal", instructions=re.compile("^Dr[aA]w"))
    assert http.get(f"{ac.url}/testing/faults").json()["data"][0]["instructions"] == "^Dr[aA]w"
    assert ended(ac, dispatched(ac, text="To Draw")).status == "finished"
    assert ended(ac, dispatched(ac, text="Draw")).status == "failed"


def test_faults_are_gone_after_clear_and_after_a_reset(ac: Server):
    ac.faults.provider("refusal", times=50)
    ac.faults.http(500)
    ac.faults.clear()
    assert ended(ac, dispatched(ac)).status == "finished"
    ac.faults.provider("refusal", times=50)
    ac.faults.http(503, times=50)
    ac.faults.disk_full()
    ac.reset()
    assert ended(ac, dispatched(ac)).status == "finished"


def test_words_of_an_answer_that_is_cut_again_and_again_are_kept(ac: Server):
    ac.script(say("A long answer of many words, which is cut somewhere. " * 5), finish("Done"))
    ac.faults.provider("cut_stream", pieces=5, times=50)
    task = ended(ac, dispatched(ac))
    assert task.status == "failed"
    assert "A long answer" in "".join(
        one.content for one in ac.client.list_messages(task.id) if one.role == "assistant"
    )


# The container


@pytest.mark.parametrize("event", [1, 4, 6])
def test_a_container_that_is_killed_once_is_replaced(ac: Server, event: int):
    ac.script(tool("make", output="ok"), tool("make test", output="ok"), finish("Built"))
    planned = ac.faults.kill(event=event)
    task = ended(ac, dispatched(ac))
    assert (task.status, task.result, planned.happened) == ("finished", "Built", 1)
    moves = [one.data for one in ac.client.list_events(task.id) if one.event == "task.updated"]
    assert [move["event"] for move in moves] == ["created", "started", "interrupted", "started", "finished"]


def test_no_event_after_the_kill_is_known(ac: Server):
    ac.script(*(tool(f"step {n}", output="ok") for n in range(6)), finish("Built"))
    ac.faults.kill(event=6)
    task = ended(ac, dispatched(ac))
    events = list(ac.client.list_events(task.id))
    interrupted = next(one.id for one in events if one.data.get("event") == "interrupted")
    assert 6 < interrupted <= 8  # an open tool call is closed first
    assert task.status == "finished"


def test_three_deaths_in_a_row_fail_the_task(ac: Server):
    planned = ac.faults.kill(event=1, times=3)
    task = ended(ac, dispatched(ac))
    assert task.status == "failed" and "died 3 times in a row" in task.error and planned.happened == 3


# Requests


@pytest.mark.parametrize(
    ("status", "code"), [(429, "too_many_requests"), (500, "internal_error"), (503, "unavailable")]
)
def test_a_request_is_answered_with_an_error_so_many_times(ac: Server, http, status, code):
    planned = ac.faults.http(status, times=2)
    answers = [http.get("/account") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[0].json()["error"]["code"] == code and planned.happened == 2


def test_a_retry_after_is_sent(ac: Server, http):
    for status in (429, 503):
        ac.faults.http(status, retry_after=7)
        assert http.get("/account").headers["retry-after"] == "7"


def test_only_requests_that_match_fail(ac: Server, http):
    planned = ac.faults.http(500, times=9, method="post", path="/agents/{agentId}/tasks")
    assert http.get(TASKS).status_code == 200
    assert http.post("/agents/agt_standard_coding/fork").status_code == 201
    assert http.post(TASKS, json={"instructions": "x"}).status_code == 500
    ac.faults.http(500, path="/api/v1/account")
    assert http.get("/account").status_code == 500 and planned.happened == 1


@pytest.mark.parametrize(("fault", "tasks"), [("dropped", 0), ("dropped_after", 1)])
def test_an_answer_that_is_lost_is_lost_before_or_after_the_work(ac: Server, http, fault, tasks):
    ac.faults.http(fault, path="/agents/*/tasks", method="POST")
    body, key = {"instructions": "x", "overrides": {"model": "scripted"}}, {"idempotency-key": "k"}
    with pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
        http.post(TASKS, json=body, headers=key)
    assert len(http.get("/tasks").json()["data"]) == tasks
    again = http.post(TASKS, json=body, headers=key)
    assert again.status_code == 201 and len(http.get("/tasks").json()["data"]) == 1
    assert ("idempotency-replayed" in again.headers) is bool(tasks)


@pytest.mark.parametrize("fault", [503, "dropped", "dropped_after"])
def test_our_client_gets_over_it_without_a_second_effect(ac: Server, fault):
    planned = ac.faults.http(fault, times=2, method="POST")
    ac.client.create_task("agt_standard_coding", instructions="x", overrides={"model": "scripted"})
    assert planned.happened == 2 and len(list(ac.client.list_tasks())) == 1


def test_a_stream_that_is_dropped_is_resumed(ac: Server):
    ac.script(tool("make", output="ok"), finish("Built"))
    planned = ac.faults.http("dropped_after", path="/tasks/{taskId}/events")
    events = [event.data.get("event") for event in ac.client.stream(dispatched(ac))]
    assert planned.happened == 1 and events[0] == "created" and "finished" in events


def test_a_delay_is_longer_than_a_client_waits(ac: Server):
    ac.faults.http("delayed", seconds=3600, path="/account")
    impatient = Client(ac.url, ac.key, retries=0, timeout=0.3)
    with pytest.raises(ClientError):
        impatient.get_account()
    ac.faults.http("delayed", seconds=0.01, path="/account")
    assert impatient.get_account().id
    impatient.close()


# The disk


def test_a_full_disk_refuses_new_work_until_there_is_room(ac: Server, http):
    prepared = http.post("/uploads/prepare", json={"filename": "a"}).json()
    ac.faults.disk_full()
    for path, body in ((TASKS, {"instructions": "x"}), ("/uploads/prepare", {"filename": "b"})):
        answer = http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert "nearly full" in answer.json()["error"]["message"]
    answer = http.put(prepared["uploadUrl"], content=b"x" * 100)
    assert answer.status_code == 503 and "disk is full" in answer.json()["error"]["message"]
    forked = [http.post("/agents/agt_standard_coding/fork", json={"description": "x" * 9000}) for _ in range(30)]
    assert forked[-1].status_code == 503 and "full" in forked[-1].json()["error"]["message"]
    assert http.get("/account").status_code == 200
    ac.faults.clear()
    assert http.put(prepared["uploadUrl"], content=b"x" * 100).status_code == 200
    assert http.post("/agents/agt_standard_coding/fork").status_code == 201
    assert ended(ac, dispatched(ac)).status == "finished"


def test_what_is_at_work_waits_for_room_and_goes_on(ac: Server):
    said = "\n".join(["A line of the output. " * 20] * 100)
    ac.script(*(tool(f"step {n}", output=said) for n in range(20)), finish("Done", files={"a": b"x" * 100_000}))
    ac.faults.provider("slow_stream", seconds=0.003)
    id = dispatched(ac)
    while ac.client.get_task(id).status == "pending":
        time.sleep(0.005)
    ac.faults.disk_full()
    time.sleep(0.3)
    assert ac.client.get_task(id).status == "running"
    ac.faults.clear()
    assert ended(ac, id).result == "Done"


def test_a_full_disk_of_one_server_is_not_one_of_another(ac: Server):
    ac.faults.disk_full()
    with server() as other:
        assert ended(other, dispatched(other)).status == "finished"


def test_a_server_whose_disk_is_full_can_be_stopped():
    with server() as ac:
        ac.faults.disk_full()
        folder = ac._running.folder
    assert not folder.exists() and not [path for path in failpoints.FULL_DISKS if path.is_relative_to(folder)]


# Over HTTP, and what is refused


def test_faults_are_planned_listed_and_removed_over_http(ac: Server, http):
    faults = f"{ac.url}/testing/faults"
    made = http.post(faults, json={"kind": "http", "fault": 503, "retryAfter": 2, "path": "/account"})
    assert made.status_code == 201, made.text
    assert made.json() == {
        "id": made.json()["id"], "kind": "http", "fault": 503, "retryAfter": 2.0, "path": "/account", "times": 1,
        "happened": 0,
    }  # fmt: skip
    assert http.get("/account").headers["retry-after"] == "2"
    assert [one["happened"] for one in http.get(faults).json()["data"]] == [1]
    assert http.post(faults, json={"kind": "disk_full"}).status_code == 201
    assert http.post(TASKS, json={"instructions": "x"}).status_code == 503
    assert http.delete(faults).status_code == 204
    assert http.get(faults).json() == {"data": []}
    assert http.get("/account").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "earthquake"}, "kind"),
        ({"kind": "http"}, "fault"),
        ({"kind": "http", "fault": 418}, "fault"),
        ({"kind": "http", "fault": 500, "retryAfter": 1}, "retryAfter"),
        ({"kind": "http", "fault": "delayed"}, "seconds"),
        ({"kind": "http", "fault": 500, "path": "account"}, "path"),
        ({"kind": "http", "fault": 500, "method": "GTE"}, "method"),
        ({"kind": "http", "fault": 500, "times": 0}, "times"),
        ({"kind": "kill", "instructions": {"pattern": "("}}, "instructions"),
        ({"kind": "kill", "model": 5}, "model"),
        ({"kind": "provider", "fault": 429, "call": 0}, "call"),
        ({"kind": "provider", "fault": 429, "pieces": 2}, "pieces"),
        ({"kind": "provider", "fault": "timeout", "seconds": -1}, "seconds"),
        ({"kind": "provider", "fault": "refusal", "extra": 1}, "extra"),
        ({"kind": "kill", "event": "x"}, "event"),
        ({"kind": "disk_full", "times": 2}, "times"),
    ],
)
def test_a_fault_that_there_is_not_is_refused_by_its_field(ac: Server, http, body, field):
    answer = http.post(f"{ac.url}/testing/faults", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_error")
    assert [one["field"] for one in answer.json()["error"]["fields"]][0] == field
    assert http.get(f"{ac.url}/testing/faults").json() == {"data": []}


def test_a_fault_over_http_may_be_for_a_pattern(ac: Server, http):
    body = {"kind": "provider", "fault": "refusal", "instructions": {"pattern": "^Draw (a|the) "}}
    http.post(f"{ac.url}/testing/faults", json=body).raise_for_status()
    ended = [
        ac.client.wait(http.post(TASKS, json={"instructions": text}).json()["id"]) for text in ("Draw a", "Draw a cat")
    ]
    assert [task.status for task in ended] == ["finished", "failed"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda faults: faults.provider(430), "fault"),
        (lambda faults: faults.provider(429, seconds=1), "seconds"),
        (lambda faults: faults.provider(429, call=0), "call"),
        (lambda faults: faults.http("delayed"), "seconds"),
        (lambda faults: faults.http(500, path="x"), "path: must begin with /"),
        (lambda faults: faults.kill(event=0), "event"),
    ],
)
def test_a_wrong_argument_is_named(ac: Server, wrong, word):
    with pytest.raises(BadFault, match=word):
        wrong(ac.faults)


def test_the_first_of_several_faults_is_used_up_first(ac: Server, http):
    ac.faults.http(500)
    ac.faults.http(503)
    assert [http.get("/account").status_code for _ in range(3)] == [500, 503, 200]
