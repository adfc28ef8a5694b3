"""Faults where the agent is Pi itself, in a real container: it tries again as its own rules say."""

import time
from collections.abc import Iterator

import pytest

from agentcontainer_local.testing import Server, finish, server, tool

pytestmark = pytest.mark.slow
LIMIT_SECONDS = 90


@pytest.fixture(scope="module")
def real() -> Iterator[Server]:
    with server("podman") as ac:
        yield ac


@pytest.fixture
def ac(real: Server) -> Server:
    real.reset()
    return real


def run(ac: Server):
    overrides = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
    id = ac.client.create_task("agt_standard_coding", instructions="Work.", overrides=overrides).id
    deadline = time.monotonic() + LIMIT_SECONDS
    while (task := ac.client.get_task(id)).status in ("pending", "running"):
        assert time.monotonic() < deadline, task
        time.sleep(0.1)
    return task


@pytest.mark.parametrize(("fault", "status"), [(429, 429), (529, 529), ("cut_stream", 200), ("timeout", 504)])
def test_pi_tries_a_call_again(ac: Server, fault, status):
    ac.script(tool("echo made", output="made"), finish("Built"))
    planned = ac.faults.provider(fault)
    task = run(ac)
    assert (task.status, task.result, planned.happened) == ("finished", "Built", 1)
    assert [call.http_status for call in ac.client.list_model_calls(task.id)][-3:] == [status, 200, 200]
    assert [one.data["attempt"] for one in ac.client.list_events(task.id) if one.data.get("kind") == "retrying"] == [1]


def test_a_model_that_refuses_fails_the_task(ac: Server):
    ac.faults.provider("refusal", times=9)
    task = run(ac)
    assert task.status == "failed" and "refused" in task.error


def test_pi_shortens_its_history_where_the_prompt_is_too_long(ac: Server):
    ac.script(*(tool(f"echo {n}", output="Many words. " * 3500) for n in range(8)), finish("Built"))
    planned = ac.faults.provider("overflow", call=8)
    task = run(ac)
    assert (task.status, task.result, planned.happened) == ("finished", "Built", 1)
    assert [one.data["kind"] for one in ac.client.list_events(task.id) if one.event == "notice"] == ["compacted"]


def test_an_answer_that_comes_slowly_is_waited_for(ac: Server):
    ac.script(finish("At last"))
    planned = ac.faults.provider("slow_stream", seconds=0.3)
    task = run(ac)
    assert (task.status, task.result, planned.happened) == ("finished", "At last", 1)


def test_an_agent_waits_for_room_on_a_full_disk(ac: Server):
    ac.script(*(tool(f"echo {n}", output="A line of words.\n" * 200) for n in range(8)), finish("Built"))
    ac.faults.provider("slow_stream", seconds=0.1, times=99)
    overrides = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
    id = ac.client.create_task("agt_standard_coding", instructions="Work.", overrides=overrides).id
    next(event for event in ac.client.stream(id) if event.event == "activity.completed")
    ac.faults.disk_full()
    time.sleep(3)
    assert ac.client.get_task(id).status == "running"
    ac.faults.clear()
    assert ac.client.wait(id, timeout=LIMIT_SECONDS).result == "Built"


def test_a_container_that_is_killed_is_replaced(ac: Server):
    ac.script(tool("echo made", output="made"), tool("echo tested", output="tested"), finish("Built"))
    planned = ac.faults.kill(event=5)
    task = run(ac)
    assert (task.status, task.result, planned.happened) == ("finished", "Built", 1)
    moves = [one.data["event"] for one in ac.client.list_events(task.id) if one.event == "task.updated"]
    assert moves == ["created", "started", "interrupted", "started", "finished"]
