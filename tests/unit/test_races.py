"""Wake, message, cancel and finish at the same moment, hundreds of times: one wins, the others are told 409.

The client's side is the real API, the guest's the real door, both over ASGI; all at once on one loop, as in a server.
"""

import asyncio
import random
from datetime import timedelta

import httpx
import pytest
from starlette.routing import Router

from agentcontainer_local import guest, lifecycle
from agentcontainer_local.engine.host import Host
from agentcontainer_local.store import ledger, tasks
from agentcontainer_local.store.db import row, rows
from tests.unit.test_lifecycle import ACCOUNT, dispatched, walk

ROUNDS = 60


@pytest.fixture
def credit(host: Host) -> int:
    """The account's balance, which is charged."""
    host.db.conn.execute("UPDATE accounts SET billing_mode = 'standard'")
    ledger.grant(host.db, row(host.db, ACCOUNT)["id"], 1_000_000_000, host.now())
    return 1_000_000_000


def door(host: Host, task: dict) -> httpx.AsyncClient:
    """The guest's side of the task's open run."""
    run = tasks.open_run(host.db, task["id"])
    app, opened = Router(guest.ROUTES), guest.Door(host, task["id"], run["id"])

    async def bound(scope, receive, send):
        await app({**scope, "door": opened}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(bound), base_url="http://host")


def running(host: Host, conversation: bool = False) -> dict:
    task = dispatched(host, conversation)
    tasks.begin_run(host.db, task["id"], host.now())
    return tasks.apply(host.db, task["id"], "started", host.now())


async def finish(inside: httpx.AsyncClient) -> int:
    claim = {"kind": "finish", "completion": "complete", "message": "Done", "files": []}
    begun = await inside.post("/guest/outputs", json=claim)
    if begun.status_code != 200:
        return begun.status_code
    return (await inside.post(f"/guest/outputs/{begun.json()['id']}", json={})).status_code


async def hibernate(inside: httpx.AsyncClient) -> int:
    return (await inside.post("/guest/hibernate", json={"forSeconds": 60})).status_code


async def together(*asked) -> list[int]:
    """The answers' statuses, of requests that begin in some order and go on in turns."""

    async def later(ask):
        for _ in range(random.randrange(6)):
            await asyncio.sleep(0)
        answer = await ask
        return answer if isinstance(answer, int) else answer.status_code

    return await asyncio.gather(*map(later, asked))


def in_order(host: Host, credit: int) -> None:
    """Every history is a walk, every task is settled once, and the balance is the sum of what was entered."""
    spent = 0
    for task in rows(host.db, "SELECT * FROM tasks"):
        assert walk(host, task["id"])[-1] == task["status"]
        entered = sorted(e["kind"] for e in rows(host.db, "SELECT kind FROM ledger WHERE task_id = ?", (task["id"],)))
        ended = task["status"] in lifecycle.TERMINAL
        assert entered == (["charge", "release", "reservation"] if ended else ["reservation"])
        spent += ledger.cost_microusd(task["used_ms"]) if ended else ledger.RESERVATION_MICROUSD
    assert ledger.balance_microusd(host.db, row(host.db, ACCOUNT)["id"]) == credit - spent


async def test_of_cancel_finish_and_hibernate_one_wins(client, host, clock, credit):
    for _ in range(ROUNDS):
        task = running(host)
        clock.advance(30)
        async with door(host, task) as inside:
            cancelled, finished, slept = await together(
                client.post(f"/tasks/{task['id']}/cancel"), finish(inside), hibernate(inside)
            )
        status = tasks.get(host.db, task["id"])["status"]
        won = {
            name
            for name, code in (("cancelled", cancelled), ("finished", finished), ("hibernating", slept))
            if code == 200
        }
        # A sleeping task may still be cancelled; nothing else comes after anything else.
        assert won in ({"cancelled"}, {"finished"}, {"hibernating"}, {"hibernating", "cancelled"})
        assert status == ("cancelled" if "cancelled" in won else won.pop())
        assert {cancelled, finished, slept} <= {200, 409}
    in_order(host, credit)


async def test_of_wakes_a_deadline_and_a_cancel_one_wins(client, host, clock, credit):
    for _ in range(ROUNDS):
        task = running(host)
        tasks.sleep(host.db, task["id"], host.now() + timedelta(seconds=5), None, host.now())
        due = tasks.get(host.db, task["id"])["wake_due_id"]
        clock.advance(6)

        async def deadline() -> int:
            return 200 if tasks.wake_due(host.db, host.now()) else 409

        outside, message, cancelled, woken = await together(
            client.post(f"/tasks/{task['id']}/wake", json={"kind": "external_wake", "wakeDueId": due}),
            client.post(f"/tasks/{task['id']}/wake", json={"kind": "message", "message": "Up", "wakeDueId": due}),
            client.post(f"/tasks/{task['id']}/cancel"),
            deadline(),
        )
        assert cancelled == 200  # it comes first, or ends a task that was just woken
        assert [outside, message, woken].count(200) <= 1
        assert {outside, message, woken} <= {200, 409}
        assert walk(host, task["id"]).count("pending") == 1 + [outside, message, woken].count(200)
    in_order(host, credit)


async def test_messages_a_cancel_and_the_end_of_a_session_leave_no_message_without_an_end(client, host, clock, credit):
    for _ in range(ROUNDS):
        task = running(host, conversation=True)
        if random.random() < 0.7:
            tasks.end_turn(host.db, task["id"], None, host.now())
        if random.random() < 0.5:
            tasks.end_run(host.db, task["id"], host.now())
        clock.advance(random.choice([1, 3601]))

        async def expire() -> int:
            return 200 if tasks.expire(host.db, host.now()) else 409

        first, second, cancelled, expired = await together(
            client.post(f"/conversations/{task['id']}/messages", json={"content": "One"}),
            client.post(f"/conversations/{task['id']}/messages", json={"content": "Two"}),
            client.post(f"/tasks/{task['id']}/cancel"),
            expire(),
        )
        assert {first, second} <= {201, 409}
        assert (cancelled == 200) != (expired == 200)
        written = rows(host.db, "SELECT * FROM messages WHERE task_id = ? AND role = 'user'", (task["id"],))
        assert len(written) == 1 + [first, second].count(201)
        assert not [message for message in written if message["status"] in ("queued", "running")]
    in_order(host, credit)


async def test_a_delivery_whose_answer_was_lost_is_not_taken_twice(client, host):
    task = running(host, conversation=True)
    headers = {"idempotency-key": "one delivery"}
    claim = {"kind": "attach", "files": [{"path": "a", "filename": "a", "sizeBytes": 1}]}
    async with door(host, task) as inside:
        await inside.post("/guest/outputs", json=claim, headers=headers)  # the host goes away
    async with door(host, task) as inside:
        begun = (await inside.post("/guest/outputs", json=claim, headers=headers)).json()
        await inside.put(f"/guest/outputs/{begun['id']}/0", content=b"x")
        assert (await inside.post(f"/guest/outputs/{begun['id']}", json={})).status_code == 200  # and again
    async with door(host, task) as inside:
        assert (await inside.post("/guest/outputs", json=claim, headers=headers)).json()["done"]
    assert len((await client.get(f"/tasks/{task['id']}/files")).json()["data"]) == 1
