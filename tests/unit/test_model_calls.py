"""A task's model calls, one by one, from outside; the rows are made as the gateway makes them."""

from datetime import UTC, datetime

from agentcontainer_local.store import tasks
from tests.unit.test_budget import Told, started, worst


def called(host, task_id: str, used: Told, seconds: float = 0) -> None:
    reserved = tasks.reserve(host.db, task_id, worst(100, 100), host.now())
    host.now.advance(seconds)
    tasks.settle(host.db, reserved.number, used, host.now())


async def listed(client, task_id: str, **query) -> dict:
    return (await client.get(f"/tasks/{task_id}/model-calls", params=query)).raise_for_status().json()


async def test_each_call_to_a_model_is_told_with_what_it_used(client, host, clock):
    task = await started(client, host)
    began = clock()
    called(host, task["id"], Told(10, 20, 30, 40, 1234, model="claude-x"), seconds=2.5)
    first = (await listed(client, task["id"]))["data"][0]
    assert first == {
        "id": first["id"],
        "turnNumber": None,
        "provider": "anthropic",
        "model": "claude-x",
        "inputTokens": 10,
        "outputTokens": 20,
        "cacheReadTokens": 30,
        "cacheWriteTokens": 40,
        "costUsd": 0.001234,
        "estimated": False,
        "status": "completed",
        "httpStatus": 200,
        "attempt": 1,
        "error": None,
        "errorDetail": None,
        "startedAt": "2026-03-25T09:30:00.000Z",
        "endedAt": "2026-03-25T09:30:02.500Z",
    }
    assert datetime.fromisoformat(first["startedAt"]) == began == datetime(2026, 3, 25, 9, 30, tzinfo=UTC)


async def test_calls_are_listed_in_pages_and_their_sums_are_the_tasks(client, host):
    task = await started(client, host)
    for cost in (1, 2, 3):
        called(host, task["id"], Told(input_tokens=cost, cost_microusd=cost))
    page = await listed(client, task["id"], order="asc", limit=2)
    assert [call["inputTokens"] for call in page["data"]] == [1, 2] and page["pageInfo"]["hasMore"]
    rest = await listed(client, task["id"], order="asc", cursor=page["pageInfo"]["nextCursor"])
    assert [call["inputTokens"] for call in rest["data"]] == [3] and not rest["pageInfo"]["hasMore"]
    assert [call["inputTokens"] for call in (await listed(client, task["id"]))["data"]] == [3, 2, 1]
    usage = (await client.get(f"/tasks/{task['id']}")).json()["tokenUsage"]
    assert (usage["calls"], usage["inputTokens"], usage["costUsd"]) == (3, 6, 6e-06)


async def test_a_call_at_work_one_that_failed_and_one_whose_end_was_not_told_say_so(client, host):
    task = await started(client, host)
    overloaded = Told(status=529, counts="nothing", cost_microusd=None, error="It answered 529.", detail="{}")
    called(host, task["id"], overloaded)
    called(host, task["id"], Told(status=200, counts="worst", error="It was cut."))
    tasks.reserve(host.db, task["id"], worst(), host.now())
    told = [
        (call["status"], call["httpStatus"], call["estimated"], call["endedAt"] is None)
        for call in (await listed(client, task["id"], order="asc"))["data"]
    ]
    assert told == [("failed", 529, False, False), ("failed", 200, True, False), (None, None, False, True)]
    whys = [
        (call["attempt"], call["error"], call["errorDetail"])
        for call in (await listed(client, task["id"], order="asc"))["data"]
    ]
    assert whys == [(1, "It answered 529.", "{}"), (2, "It was cut.", None), (3, None, None)]
    tasks.settle_leftovers(host.db)  # the server was killed meanwhile
    left = (await listed(client, task["id"]))["data"][0]
    assert (left["status"], left["httpStatus"], left["estimated"], left["endedAt"]) == ("failed", None, True, None)


async def test_the_calls_of_anothers_task_do_not_exist(client, stranger, host):
    task = await started(client, host)
    called(host, task["id"], Told())
    answer = await stranger.get(f"/tasks/{task['id']}/model-calls")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    client.headers.pop("authorization")
    assert (await client.get(f"/tasks/{task['id']}/model-calls")).status_code == 401
