"""A run whose task has gone to sleep is over: if the task is woken at once, only the next run may go on."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from agentcontainer_local import app, egress, gateway, guest, lifecycle, model_access
from agentcontainer_local.engine import advance
from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.decide import EndRun, Wait
from agentcontainer_local.engine.run.follow import due
from agentcontainer_local.guest.commands import in_force
from agentcontainer_local.store import tasks
from tests.conftest import Clock
from tests.unit.test_races import door, running

CALL = {"model": "scripted", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def face(host: Host, clock: Clock):
    """What a run's socket answers, as `app` puts it together, and the run it is asked for."""
    async with gateway.client(5) as client:
        guest_of = app.guests_of(host, client, egress.INTERNET)

        async def asked(task: dict, run: dict) -> httpx.Response:
            async with guest_of(run) as inside:
                transport = httpx.ASGITransport(inside.app)
                async with httpx.AsyncClient(transport=transport, base_url="http://host") as calling:
                    answering = asyncio.create_task(calling.post("/anthropic/v1/messages", json=CALL))
                    await advance.advance(host, clock, model_access.HOLD_SECONDS)
                    return await answering

        yield asked


def slept(host: Host, task: dict) -> None:
    tasks.sleep(host.db, task["id"], host.now() + timedelta(hours=1), None, host.now())


def woken(host: Host, task: dict) -> None:
    tasks.wake(
        host.context,
        task["account_id"],
        task["id"],
        "external_wake",
        None,
        None,
        None,
    )


async def test_no_model_call_is_served_to_a_run_that_was_put_to_sleep_whatever_the_task_does_next(host: Host, face):
    task = running(host)
    first = tasks.open_run(host.db, task["id"])
    tasks.runs.started(host.db, tasks.open_run(host.db, task["id"])["id"], host.now())
    assert (await face(task, first)).status_code == 200
    slept(host, task)
    assert (await face(task, first)).status_code == 403
    woken(host, task)
    assert tasks.get(host.db, task["id"])["status"] == lifecycle.PENDING
    assert (await face(task, first)).status_code == 403
    second = tasks.begin_run(host.db, task["id"], host.now())
    assert (await face(task, first)).status_code == 403
    assert (await face(task, second)).status_code == 200
    tasks.apply(host.db, task["id"], "started", host.now())
    assert [(await face(task, run)).status_code for run in (first, second)] == [403, 200]


async def test_a_call_that_waits_for_a_budget_is_refused_when_its_task_sleeps_meanwhile(host: Host):
    task = running(host)
    run = tasks.open_run(host.db, task["id"])
    tasks.runs.started(host.db, tasks.open_run(host.db, task["id"])["id"], host.now())
    host.db.conn.execute("UPDATE tasks SET max_tokens = 10000")
    worst = tasks.Worst("anthropic", "m", 6000, 1000, None, None)
    first = tasks.reserve(host.db, task["id"], worst, host.now())
    waiting = asyncio.create_task(model_access.reserved(host, guest.Door(host, task["id"], run["id"]), worst))
    await asyncio.sleep(0)
    slept(host, task)
    woken(host, task)
    model_access.settled(host, first, tasks.Usage("anthropic", "m", 6000, 0, 0, 0, None, 200, True))
    with pytest.raises(tasks.Refused):
        await waiting


async def test_the_reason_for_waking_is_kept_for_the_next_run(host: Host):
    task = running(host)
    first = tasks.open_run(host.db, task["id"])
    tasks.runs.started(host.db, tasks.open_run(host.db, task["id"])["id"], host.now())
    slept(host, task)
    woken(host, task)
    assert in_force(host.db, task["id"]) == []
    told = [{"seq": 1, "event": {"type": "prompted", "id": f"tell-{first['id']}"}}]
    async with door(host, task) as inside:
        assert (await inside.post("/guest/events", content=json.dumps(told[0]))).status_code == 200
    assert tasks.get(host.db, task["id"])["to_tell"] == "external_wake"
    second = tasks.begin_run(host.db, task["id"], host.now())
    assert [command["id"] for command in in_force(host.db, task["id"])][0] == f"tell-{second['id']}"


async def test_an_agent_hears_that_its_sleep_was_granted_even_if_it_is_woken_at_once(host: Host):
    task = running(host)
    tasks.runs.started(host.db, tasks.open_run(host.db, task["id"])["id"], host.now())
    slept(host, task)
    woken(host, task)
    assert due(host, tasks.get(host.db, task["id"]), 0.1) == Wait(pytest.approx(0.4))
    async with door(host, task) as inside:
        await inside.post("/guest/events", content=json.dumps({"seq": 1, "event": {"type": "settled"}}))
    assert due(host, tasks.get(host.db, task["id"]), 0.1) == EndRun()
