"""A task that waits for its image says what is done for it."""

from agentcontainer_local.engine.run.start import _built as built
from tests.unit.test_api_tasks import dispatch


async def notices(client, task: dict) -> list[str]:
    events = (await client.get(f"/tasks/{task['id']}/events", params={"order": "asc"})).json()["data"]
    return [event["data"]["message"] for event in events if event["event"] == "notice"]


async def preparing(client, task: dict) -> str | None:
    return (await client.get(f"/tasks/{task['id']}")).json().get("preparing")


async def test_a_pending_task_says_how_far_its_image_is(client, host):
    documents, coding = [await dispatch(client, f"/agents/agt_standard_{name}") for name in ("documents", "coding")]
    other = await dispatch(client)
    with host.preparing.waiting(documents["id"], "documents"), host.preparing.waiting(coding["id"], "coding"):
        assert await preparing(client, documents) is None
        built(host, "coding: STEP 2/3: RUN apt-get install")
        assert (
            await preparing(client, documents)
            == await preparing(client, coding)
            == ("Building image coding, step 2 of 3")
        )
        built(host, "documents: STEP 3/4: RUN apt-get install")
        built(host, "documents: STEP 3/4: RUN apt-get install")
        built(host, "documents: 50 packages unpacked")
        assert await preparing(client, documents) == "Building image documents, step 3 of 4"
        assert await preparing(client, coding) == "Building image coding, step 2 of 3"
        assert await preparing(client, other) is None
    assert await preparing(client, documents) is None
    assert await notices(client, documents) == [
        "Building image coding, step 2 of 3",
        "Building image documents, step 3 of 4",
    ]
    assert await notices(client, coding) == ["Building image coding, step 2 of 3"]
    assert await notices(client, other) == []


async def test_a_task_that_was_cancelled_meanwhile_hears_nothing_more(client, host):
    task = await dispatch(client, "/agents/agt_standard_coding")
    with host.preparing.waiting(task["id"], "coding"):
        await client.post(f"/tasks/{task['id']}/cancel")
        built(host, "coding: STEP 2/3: RUN apt-get install")
        assert await preparing(client, task) is None
    assert await notices(client, task) == []
