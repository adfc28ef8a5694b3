"""Deadlines are rows: one scan does whatever has become due, however late it comes."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from agentcontainer_local import lifecycle
from agentcontainer_local.api import events
from agentcontainer_local.engine import schedule, timers
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import clock_steps, tasks, transcript
from agentcontainer_local.store import events as history
from agentcontainer_local.store.db import parse_iso
from tests.conftest import KEY, Clock, calling, set_context
from tests.unit.test_lifecycle import dispatched, walk


def running(host: Host, conversation: bool = False) -> dict:
    task = dispatched(host, conversation)
    tasks.begin_run(host.db, task["id"], host.now())
    return tasks.apply(host.db, task["id"], "started", host.now())


async def test_a_sleeping_task_is_woken_when_its_time_has_come_and_not_before(host: Host, clock: Clock):
    task = running(host)
    tasks.sleep(host.db, task["id"], clock() + timedelta(hours=1), None, clock())
    clock.advance(3599)
    await timers.scan(host)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.HIBERNATING
    changed = host.changed.mark()
    clock.advance(90_000)  # the machine was off over night
    await timers.scan(host)
    woken = tasks.get(host.db, task["id"])
    assert (woken["status"], woken["to_tell"], woken["hibernate_until"]) == (lifecycle.PENDING, "deadline", None)
    assert changed.done()


async def test_a_session_expires_and_a_message_before_that_puts_it_off(host: Host, clock: Clock, client):
    task = running(host, conversation=True)
    tasks.end_turn(host.db, task["id"], None, clock())
    clock.advance(3000)
    await client.post(f"/conversations/{task['id']}/messages", json={"content": "Still here"})
    clock.advance(3000)
    await timers.scan(host)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.RUNNING
    tasks.end_turn(host.db, task["id"], None, clock())
    clock.advance(3601)
    await timers.scan(host)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.EXPIRED


async def test_uploads_that_nobody_completes_are_forgotten(host: Host, clock: Clock, client):
    prepared = (await client.post("/uploads/prepare", json={"filename": "a"})).json()
    assert (await client.put(prepared["uploadUrl"], content=b"bytes")).status_code == 200
    assert len([path for path in host.files.iterdir() if path.is_file()]) == 1
    clock.advance(100_000)
    await timers.scan(host)
    assert not [path for path in host.files.iterdir() if path.is_file()]


async def test_a_scan_with_nothing_due_wakes_nobody(host: Host):
    running(host)
    changed = host.changed.mark()
    await timers.scan(host)
    assert not changed.done()


async def test_a_task_s_waiters_hear_of_it_and_not_of_others(host: Host):
    one, other, all_of_them = host.changed.mark("one"), host.changed.mark("other"), host.changed.mark()
    host.changed.set("one")
    assert (one.done(), other.done(), all_of_them.done()) == (True, False, True)


async def test_a_dispatch_wakes_who_cares_for_all_tasks_and_nobody_who_follows_another(host: Host, client):
    """Else each of a thousand dispatches would have every run and every stream look at its rows."""
    follower, starter = host.changed.mark(running(host)["id"]), host.changed.mark()
    body = {"instructions": "x", "overrides": {"model": "scripted"}}
    assert (await client.post("/agents/agt_standard_data/tasks", json=body)).status_code == 201
    assert (follower.done(), starter.done()) == (False, True)


async def test_a_silent_stream_has_heartbeats(host: Host, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)
    task = running(host)
    stream = events._stream(host, task["id"], 0)
    chunks = [await anext(stream) for _ in range(3)]
    tasks.apply(host.db, task["id"], "finished", clock())
    chunks += [chunk async for chunk in stream]
    assert chunks[0].startswith(b"retry: 1000\nid: ") and b"event: task.updated" in chunks[0]
    assert chunks[1] == chunks[2] == b": still here\n"
    *blocks, rest = b"".join(chunks).split(b"\n\n")
    assert rest == b"" and all(b"\ndata: {" in block for block in blocks), "some readers take a block for an event"


async def test_a_stream_ends_when_its_key_is_revoked_and_goes_on_when_another_is(host: Host, client):
    task = running(host)
    keys = [(await client.post("/keys", json={"name": name})).json() for name in ("one", "two")]
    path = f"/tasks/{task['id']}/events?stream=true"
    async with calling(host, keys[0]["key"]) as one, calling(host, None) as two:
        streams = [asyncio.create_task(one.get(path)), asyncio.create_task(two.get(f"{path}&apiKey={keys[1]['key']}"))]
        await asyncio.sleep(0.1)
        assert (await client.delete(f"/keys/{keys[0]['id']}")).status_code == 204
        first = await asyncio.wait_for(streams[0], 10)
        assert first.status_code == 200 and not streams[1].done()
        assert (await client.delete(f"/keys/{keys[1]['id']}")).status_code == 204
        await asyncio.wait_for(streams[1], 10)
        assert (await one.get(path)).status_code == 401


async def test_a_stream_of_large_events_is_written_in_parts(host: Host, clock: Clock):
    task = running(host)
    for _ in range(20):
        history.append(host.db, task["id"], history.NOTICE, {"message": "x" * 40_000}, clock())
    tasks.apply(host.db, task["id"], "finished", clock())
    chunks = [chunk async for chunk in events._stream(host, task["id"], 0)]
    assert max(map(len, chunks)) < 150_000
    assert b"".join(chunks).count(b"event: notice") == 20
    assert walk(host, task["id"])[-1] == "finished"


async def test_the_words_of_an_answer_never_come_behind_it(host: Host, clock: Clock):
    """Also when both come while a reader takes what was before."""
    task = running(host)
    stream = events._stream(host, task["id"], 0)
    assert b"event: task.updated" in await anext(stream)
    host.live.say(task["id"], "words")
    history.append(host.db, task["id"], history.NOTICE, {"message": "words"}, clock())
    assert [await anext(stream), b"event: notice" in await anext(stream)] == [
        b'event: message.delta\ndata: {"type": "message.delta", "text": "words"}\n\n',
        True,
    ]
    await stream.aclose()


async def test_what_a_command_prints_is_streamed_between_its_start_and_its_end(host: Host, clock: Clock):
    task = running(host)
    call = {"callId": "c1", "tool": "bash", "input": {}, "inputOmittedReason": None}
    transcript.tool_started(host.db, task, call, clock(), clock())
    transcript.tool_printed(host.db, task, "c1", "10%")
    stream = events._stream(host, task["id"], 0)
    assert b"activity.started" in await anext(stream)
    live = (await anext(stream)).decode()
    assert live.startswith("event: activity.output\ndata: ") and "id: " not in live
    shown = json.loads(live.split("data: ")[1])
    assert (shown["callId"], shown["toolKey"], shown["text"]) == ("c1", "shell", "10%")
    transcript.tool_printed(host.db, task, "c1", "20%")
    assert b'"20%"' in await anext(stream)
    transcript.tool_printed(host.db, task, "c1", "30%")
    transcript.tool_ended(host.db, task, {"callId": "c1", "failed": False, "output": "done"}, clock(), clock())
    assert b'"output":"done"' in await anext(stream)
    assert transcript.printed(host.db, task["id"]) == []
    await stream.aclose()


@pytest.mark.parametrize("event", ["finished", "cancelled", "failed", "interrupted"])
async def test_what_a_command_printed_is_kept_when_its_end_is_never_told(host: Host, clock: Clock, event: str):
    task = running(host)
    call = {"callId": "c1", "tool": "bash", "input": {}, "inputOmittedReason": None}
    transcript.tool_started(host.db, task, call, clock(), clock())
    transcript.tool_printed(host.db, task, "c1", "hello")
    tasks.apply(host.db, task["id"], event, clock())
    ended = [e for e in history.page(host.db, task["id"], 100, 0, True) if e["type"] == "activity.completed"]
    assert [json.loads(e["data"])["output"] for e in ended] == ["hello"]


async def test_deltas_that_nobody_reads_do_not_pile_up(host: Host):
    with host.live.listening("tsk") as heard:
        for n in range(10_000):
            host.live.say("tsk", f"{n:100}")
        text = heard.take()
    assert len(text) <= heard.MAX_CHARACTERS
    assert text.endswith("9999")
    host.live.say("tsk", "nobody listens")


async def test_the_head_of_a_stream_is_answered_while_the_task_lives(host: Host, client):
    """Its stream would end only with the task, and keep whoever asks next on that connection waiting."""
    answer = await asyncio.wait_for(client.head(f"/tasks/{running(host)['id']}/events?stream=true"), 5)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("id", ["x", "-1", "1.0", "٣", "9" * 19, "9" * 5000])
async def test_what_is_no_event_s_id_is_refused(host: Host, client, id):
    headers = {"last-event-id": id.encode()}
    answer = await client.get(f"/tasks/{running(host)['id']}/events?stream=true", headers=headers)
    assert (answer.status_code, answer.json()["error"]["fields"][0]["field"]) == (422, "Last-Event-ID")


async def test_the_stream_of_a_stranger_s_task_does_not_exist(host: Host, stranger: httpx.AsyncClient):
    task = running(host)
    answer = await stranger.get(f"/tasks/{task['id']}/events", params={"stream": "true"})
    assert answer.status_code == 404
    async with calling(host, None) as nobody:
        tasks.apply(host.db, task["id"], "finished", host.now())
        url = f"/tasks/{task['id']}/events?stream=true&apiKey={KEY}"
        assert (await nobody.get(url)).status_code == 200


HOUR = 3600


@pytest.mark.parametrize("step", [-HOUR, HOUR, -30 * 24 * HOUR, 30 * 24 * HOUR, -50 * 365 * 24 * HOUR])
async def test_a_step_of_the_clock_changes_no_duration(host: Host, clock: Clock, client, step: int):
    """Not of a session, nor of a sleep for a time, a run, an upload, an API key or a kept workspace."""
    idle, sleeper, working, ended = running(host, conversation=True), running(host), running(host), running(host)
    tasks.end_turn(host.db, idle["id"], None, clock())
    tasks.sleep(host.db, sleeper["id"], clock() + timedelta(hours=2), None, clock(), relative=True)
    tasks.apply(host.db, ended["id"], "failed", clock(), error="x")
    set_context(
        host, settings=host.settings.model_copy(update={"workspace_retention_seconds": 2 * HOUR, "retention_days": 1})
    )
    prepared = (await client.post("/uploads/prepare", json={"filename": "a"})).json()
    key = (await client.post("/keys", json={"name": "k", "expiresInSeconds": 2 * HOUR})).json()["key"]
    clock.advance(20)
    clock.set(step)
    async with calling(host, key) as briefly:
        assert (await briefly.get("/account")).status_code == 200
    await timers.scan(host)
    await timers.tidy(host)
    assert tasks.get(host.db, idle["id"])["status"] == lifecycle.AWAITING_INPUT
    assert tasks.get(host.db, sleeper["id"])["status"] == lifecycle.HIBERNATING
    assert tasks.get(host.db, ended["id"])["swept_at"] is None
    assert tasks.retention.workspaces(host.db, clock(), timedelta(hours=2), crowded=False) == []
    assert tasks.container_ms(tasks.get(host.db, working["id"]), clock()) == 20_000
    assert (await client.put(prepared["uploadUrl"], content=b"x")).status_code == 200
    clock.advance(HOUR)
    await timers.scan(host)
    assert tasks.get(host.db, idle["id"])["status"] == lifecycle.EXPIRED
    clock.advance(HOUR)
    async with calling(host, key) as briefly:
        assert (await briefly.get("/account")).status_code == 401
    await timers.scan(host)
    await timers.tidy(host)
    assert tasks.get(host.db, sleeper["id"])["status"] == lifecycle.PENDING
    assert [task["id"] for task in tasks.retention.workspaces(host.db, clock(), timedelta(hours=2), crowded=False)] == [
        ended["id"]
    ]
    clock.advance(24 * HOUR)
    await timers.tidy(host)
    assert tasks.get(host.db, ended["id"])["swept_at"] is not None


async def test_a_sleep_until_a_date_ends_at_that_date_however_the_clock_was_set(host: Host, clock: Clock):
    task = running(host)
    tasks.sleep(host.db, task["id"], clock() + timedelta(hours=2), None, clock())
    clock.set(-HOUR)
    clock.advance(2 * HOUR)
    await timers.scan(host)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.HIBERNATING
    clock.set(HOUR)
    await timers.scan(host)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.PENDING


async def test_while_a_machine_is_suspended_a_sleep_goes_on_and_nothing_else(host: Host, clock: Clock):
    idle, sleeper, working = running(host, conversation=True), running(host), running(host)
    tasks.end_turn(host.db, idle["id"], None, clock())
    tasks.sleep(host.db, sleeper["id"], clock() + timedelta(hours=2), None, clock(), relative=True)
    clock.suspend(8 * HOUR)
    await timers.scan(host)
    assert tasks.get(host.db, idle["id"])["status"] == lifecycle.AWAITING_INPUT
    assert tasks.get(host.db, sleeper["id"])["status"] == lifecycle.PENDING
    assert tasks.container_ms(tasks.get(host.db, working["id"]), clock()) == 0


@pytest.mark.parametrize("same_boot", [True, False])
@pytest.mark.parametrize("step", [-HOUR, 0, 30 * 24 * HOUR])
def test_a_step_while_no_server_runs_is_found_by_the_next_one(
    host: Host, clock: Clock, monkeypatch, same_boot: bool, step: int
):
    """After a reboot the time in which the machine was off is not told from a step: neither counts."""
    idle, working = running(host, conversation=True), running(host)
    tasks.end_turn(host.db, idle["id"], None, clock())
    clock_steps.remember(host.db, clock.read())
    if same_boot:
        clock.advance(10)
    else:
        monkeypatch.setattr(clock_steps, "boot_id", lambda: "another")
        clock.reboot()
    clock.set(step)
    away = clock_steps.resume(host.db, clock.read())
    passed = 10 if same_boot else 0
    assert away == timedelta(seconds=passed)
    assert tasks.container_ms(tasks.get(host.db, working["id"]), clock.at) == passed * 1000
    left = parse_iso(tasks.get(host.db, idle["id"])["expires_at"]) - clock.at
    assert left == timedelta(seconds=HOUR - passed)
    assert clock_steps.resume(host.db, clock.read()) == timedelta()


async def test_scans_go_on_when_the_clock_was_set_back_and_are_not_made_up_for_when_it_was_set_forward(
    host: Host, clock: Clock
):
    """APScheduler goes by the wall clock. A step of it is here the same step, the other way, of what it waits for."""
    scans: list[float] = []
    timers_of_host = schedule.scheduler(host)
    timers_of_host.add_job(lambda: scans.append(1), schedule.Every(1000), id="counted", misfire_grace_time=None)
    timers_of_host.start()
    counted = timers_of_host.get_job("counted")

    async def scanned(times: int) -> None:
        while len(scans) < times:
            await asyncio.sleep(0)

    try:
        await asyncio.wait_for(scanned(1), 5)
        now = datetime.now(UTC)
        for step in (timedelta(hours=1), -timedelta(days=3650), timedelta(days=3650)):
            before = len(scans)
            counted.modify(next_run_time=now + step)
            schedule.keep_up(timers_of_host, now)
            await asyncio.wait_for(scanned(before + 1), 1)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(scans) == before + 1
    finally:
        timers_of_host.shutdown()
