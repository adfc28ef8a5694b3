"""Whatever a guest says at its door is taken or refused: nothing of it is an error of ours."""

import json
from datetime import datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Router

from agentcontainer_local import guest
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import tasks, transcript
from tests.conftest import set_context

REFUSED = {400, 404, 405, 409, 413, 422, 429}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("x" * 3000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    [
        "ready",
        "pi_failed",
        "prompted",
        "refused",
        "message",
        "tool_started",
        "tool_output",
        "tool_ended",
        "retrying",
        "compacted",
        "extension_error",
        "pi_exited",
        "delta",
        "finish",
        "attach",
        "",
        "nothing",
    ]
)
FIELDS = st.sampled_from(
    [
        "id",
        "message",
        "text",
        "stopReason",
        "errorMessage",
        "callId",
        "tool",
        "input",
        "failed",
        "output",
        "code",
        "signal",
        "stderr",
        "attempt",
        "delayMs",
        "toolCalls",
        "model",
        "at",
        "seq",
    ]
)
EVENT = st.builds(lambda kind, fields: {"type": kind, **fields}, TYPES, st.dictionaries(FIELDS, JSON, max_size=6))
LINE = st.builds(
    lambda seq, at, event, extra: {"seq": seq, "at": at, "event": event, **extra},
    st.integers(-2, 40) | JSON,
    st.integers(-1, 2**54) | JSON,
    EVENT | JSON,
    st.dictionaries(st.text(max_size=4), JSON, max_size=1),
)
FILE = st.dictionaries(
    st.sampled_from(["path", "filename", "sizeBytes", "outputName", "x"]),
    JSON | st.just(0) | st.sampled_from(["a", "../a", "/etc/passwd", "a\0b", "ä" * 900]),
    max_size=5,
)
CLAIM = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["finish", "attach", "x"]) | JSON,
        "completion": st.sampled_from(["complete", "incomplete", "x"]) | JSON,
        "message": JSON,
        "files": st.lists(FILE, max_size=3) | JSON,
        "key": JSON,
    },
)
WISH = st.fixed_dictionaries(
    {},
    optional={
        "forSeconds": JSON,
        "message": JSON,
        "untilAt": JSON | st.sampled_from(["2030-01-01T00:00:00Z", "9999-99-99", "-1"]),
    },
)


def dumped(value) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.fixture
async def door(client, host: Host) -> guest.Door:
    body = {"instructions": "x", "overrides": {"model": "scripted"}}
    task = (await client.post("/agents/agt_standard_data/tasks", json=body)).json()
    host.files.mkdir(parents=True, exist_ok=True)
    run = tasks.begin_run(host.db, task["id"], host.now())
    tasks.apply(host.db, task["id"], "started", host.now())
    return guest.Door(host, task["id"], run["id"])


async def said(door: guest.Door, method: str, path: str, content: bytes) -> int:
    """The answer's status; an exception of a handler's comes out here."""
    app = Router(guest.ROUTES)

    async def at_the_door(scope, receive, send):
        await app({**scope, "door": door}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(at_the_door), base_url="http://door") as caller:
        return (await caller.request(method, path, content=content)).status_code


FUZZ = settings(max_examples=120)


@pytest.mark.parametrize("path", ["/guest/events", "/guest/outputs", "/guest/hibernate", "/guest/outputs/out_x"])
async def test_any_bytes_are_refused(door, path):
    examples = [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"\n\n",
        b"{}" * 3,
        b"[" * 5000,
        b'{"a":' * 5000,
        b"1" * 5000,
        b"NaN",
    ]
    for content in examples:
        status = await said(door, "POST", path, content)
        assert status in REFUSED or (path, status) == ("/guest/events", 200)


def fuzzed(strategy, method: str, path: str, as_bytes=dumped):
    """A test of what Hypothesis makes of `strategy`; it stops where the guest has ended its own task."""

    async def test(door):
        examples: list[bytes] = []

        @FUZZ
        @given(strategy)
        def collect(value):
            examples.append(as_bytes(value))

        collect()
        for content in examples:
            status = await said(door, method, path, content)
            assert status == 200 or status in REFUSED, (status, content)
            task = tasks.get(door.host.db, door.task_id)
            assert task["status"] in ("running", "finished", "hibernating", "failed")
            if task["status"] != "running":
                return

    return test


def lines(events: list) -> bytes:
    return b"\n".join(map(dumped, events))


test_events_of_any_shape_are_taken_or_refused = fuzzed(st.lists(LINE, max_size=5), "POST", "/guest/events", lines)
test_claims_of_any_shape_are_taken_or_refused = fuzzed(CLAIM | JSON, "POST", "/guest/outputs")
test_wishes_to_sleep_of_any_shape_are_taken_or_refused = fuzzed(WISH | JSON, "POST", "/guest/hibernate")
test_commits_of_anything_are_refused = fuzzed(JSON, "POST", "/guest/outputs/out_nothing")
test_bytes_for_nothing_are_refused = fuzzed(st.binary(max_size=50), "PUT", "/guest/outputs/out_nothing/0", bytes)


def words(seq: int, text: str) -> dict:
    return {"seq": seq, "event": {"type": "message", "text": text, "stopReason": "toolUse"}}


async def test_a_batch_of_many_small_events_is_not_read_while_others_wait(door):
    assert await said(door, "POST", "/guest/events", lines([{"event": {"type": "delta", "text": ""}}] * 1000)) == 200
    assert await said(door, "POST", "/guest/events", lines([{"event": {"type": "delta", "text": ""}}] * 1002)) == 413


async def test_what_is_kept_has_a_number(door):
    assert await said(door, "POST", "/guest/events", lines([{"event": {"type": "ready"}}])) == 422


def called(input: object) -> list:
    return [{"seq": 1, "event": {"type": "tool_started", "callId": "c", "tool": "bash", "input": input}}]


@pytest.mark.parametrize("input", [{"a": float("nan")}, [float("-inf")], {"command": "x" * 150_000}])
async def test_what_no_tool_is_given_is_no_event(door, client, input):
    """It would be no JSON for who reads the task's stream, or more than all that the agent's own programs send."""
    assert await said(door, "POST", "/guest/events", lines(called(input))) == 422
    assert await said(door, "POST", "/guest/events", lines(called({"command": "x" * 60_000}))) == 200
    assert len((await client.get(f"/tasks/{door.task_id}/activities")).json()["data"]) == 1


async def test_an_agent_that_reports_without_end_ends_its_task_alone(door):
    most = 1024**2
    set_context(door.host, settings=door.host.settings.model_copy(update={"max_event_bytes": most}))
    live = [{"event": {"type": "delta", "text": "x" * 100_000}}]
    for _ in range(12):
        assert await said(door, "POST", "/guest/events", lines(live)) == 200
    for seq in range(1, 11):
        assert await said(door, "POST", "/guest/events", lines([words(seq, "x" * 100_000)])) == 200
    assert tasks.get(door.host.db, door.task_id)["status"] == "running"
    assert await said(door, "POST", "/guest/events", lines([words(11, "x" * 100_000)])) == 200
    task = tasks.get(door.host.db, door.task_id)
    assert task["status"] == "failed" and f"more than {most} bytes" in task["error"]


@pytest.mark.parametrize(
    ("began", "ended", "took"),
    [
        (1500, 3750, 2250),  # before it is heard of
        (-(10**9), 10**12, 60_000),  # as no clock of this machine had it
        (3000, 2000, 0),
        (None, None, 0),
    ],
)
async def test_a_tool_took_the_time_between_its_beginning_and_its_end(door, client, clock, began, ended, took):
    """The guest's word counts, as the server may have been away; but nothing happens outside of its run."""
    begin = round(clock().timestamp() * 1000)
    clock.advance(60)
    begun = {"type": "tool_started", "callId": "c", "tool": "bash", "input": {"command": "sleep 2"}}
    over = {"type": "tool_ended", "callId": "c", "failed": False, "output": ""}
    said_at = [at if at is None else max(0, begin + at) for at in (began, ended)]
    batch = [{"seq": 1, "at": said_at[0], "event": begun}, {"seq": 2, "at": said_at[1], "event": over}]
    assert await said(door, "POST", "/guest/events", lines(batch)) == 200
    [tool] = (await client.get(f"/tasks/{door.task_id}/activities")).json()["data"]
    times = [datetime.fromisoformat(tool[name]).timestamp() * 1000 for name in ("startedAt", "completedAt")]
    assert tool["durationMs"] == round(times[1] - times[0]) == took
    assert begin <= times[0] <= times[1] <= begin + 60_000
    told = (await client.get(f"/tasks/{door.task_id}/events")).json()["data"]
    assert [e["data"]["durationMs"] for e in told if e["event"] == "activity.completed"] == [took]


@pytest.fixture
async def talk(client, host: Host) -> guest.Door:
    body = {"instructions": "x", "message": "Hi", "overrides": {"model": "scripted"}}
    task = (await client.post("/agents/agt_standard_data/conversations", json=body)).json()["task"]
    host.files.mkdir(parents=True, exist_ok=True)
    run = tasks.begin_run(host.db, task["id"], host.now())
    tasks.apply(host.db, task["id"], "started", host.now())
    return guest.Door(host, task["id"], run["id"])


async def test_an_answer_grows_only_so_long_and_the_events_have_the_rest(talk, client):
    for seq in range(1, 6):
        assert await said(talk, "POST", "/guest/events", lines([words(seq, str(seq) * 250_000)])) == 200
    answer = (await client.get(f"/tasks/{talk.task_id}/messages")).json()["data"][0]
    assert len(answer["content"]) == transcript.MAX_ANSWER_CHARACTERS + len(transcript.CUT)
    assert answer["content"].endswith(transcript.CUT) and answer["content"].count("2") == 250_000
    events = (await client.get(f"/tasks/{talk.task_id}/events")).json()["data"]
    assert sum("5" * 250_000 in str(event["data"]) for event in events) == 1


async def handed_over(door: guest.Door, size: int, **more: str) -> int:
    """The status of an attachment of so many bytes: of its begin, or of its commit."""
    app, headers = Router(guest.ROUTES), {"content-type": "application/json"}

    async def at_the_door(scope, receive, send):
        await app({**scope, "door": door}, receive, send)

    claim = {"kind": "attach", "files": [{"path": "a", "filename": "a", "sizeBytes": size, **more}]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(at_the_door), base_url="http://door") as caller:
        begun = await caller.post("/guest/outputs", json=claim, headers=headers)
        if begun.status_code != 200:
            return begun.status_code
        path = f"/guest/outputs/{begun.json()['id']}"
        assert (await caller.put(f"{path}/0", content=b"x" * size)).status_code == 200
        return (await caller.post(path, json={})).status_code


async def test_one_answer_brings_no_more_files_than_a_finish_may(talk):
    """Else an agent that attaches the same file again and again fills the disk."""
    set_context(
        talk.host, settings=talk.host.settings.model_copy(update={"max_output_bytes": 1000, "max_output_files": 3})
    )
    assert [await handed_over(talk, size) for size in (600, 300, 300, 100)] == [200, 200, 422, 200]
    assert await handed_over(talk, 0) == 422
    assert len(talk.staged) == 0


async def test_what_comes_with_an_answer_is_no_named_output(talk):
    assert [await handed_over(talk, 1, outputName="report") for _ in range(2)] == [422, 422]
    assert await handed_over(talk, 1) == 200


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
async def test_a_wish_to_sleep_beyond_the_calendar_is_refused(door, moment):
    assert await said(door, "POST", "/guest/hibernate", dumped({"untilAt": moment})) == 422
