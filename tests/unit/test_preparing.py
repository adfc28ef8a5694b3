"""A task that waits for its image says what is done for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from agentcontainer_local.engine.run.start import say
from agentcontainer_local.sandbox.podman.progress import Progress
from tests.unit.test_api_tasks import dispatch


async def notices(client, task: dict) -> list[str]:
    events = (await client.get(f"/tasks/{task['id']}/events", params={"order": "asc"})).json()["data"]
    return [event["data"]["message"] for event in events if event["event"] == "notice"]


async def preparing(client, task: dict) -> str | None:
    return (await client.get(f"/tasks/{task['id']}")).json().get("preparing")


@contextmanager
def waits(host, task: dict, progress: Progress, image: str) -> Iterator[None]:
    """A task that waits for the image, as the engine asks for it and Podman's backend answers."""
    with host.preparing.waiting(task["id"]), progress.heard(image, lambda words: say(host, task["id"], words)):
        yield


async def test_a_pending_task_says_how_far_its_image_is(client, host):
    documents, coding = [await dispatch(client, f"/agents/agt_standard_{name}") for name in ("documents", "coding")]
    other = await dispatch(client)
    progress = Progress()
    built = progress.built
    with waits(host, documents, progress, "documents"), waits(host, coding, progress, "coding"):
        assert await preparing(client, documents) is None
        built("coding: STEP 2/3: RUN apt-get install")
        assert (
            await preparing(client, documents)
            == await preparing(client, coding)
            == ("Building image coding, step 2 of 3")
        )
        built("documents: STEP 3/4: RUN apt-get install")
        built("documents: STEP 3/4: RUN apt-get install")
        built("documents: 50 packages unpacked")
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
    progress = Progress()
    with waits(host, task, progress, "coding"):
        await client.post(f"/tasks/{task['id']}/cancel")
        progress.built("coding: STEP 2/3: RUN apt-get install")
        assert await preparing(client, task) is None
    assert await notices(client, task) == []


async def test_a_task_that_comes_while_its_image_is_built_hears_at_once_how_far_that_is(client, host):
    first, second = [await dispatch(client, "/agents/agt_standard_coding") for _ in range(2)]
    progress = Progress()
    with waits(host, first, progress, "coding"):
        progress.built("coding: STEP 2/3: RUN apt-get install")
        with waits(host, second, progress, "coding"):
            assert await preparing(client, second) == "Building image coding, step 2 of 3"
    assert await notices(client, second) == ["Building image coding, step 2 of 3"]
