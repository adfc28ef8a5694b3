"""With real containers: the server's deadlines move, and containers go on in real time."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from agentcontainer_local.client import Client
from agentcontainer_local.testing import finish, hibernate, server, tool

CODING = "agt_standard_coding"


def until(happened: Callable[[], bool], what: str) -> None:
    for _ in range(1200):
        if happened():
            return
        time.sleep(0.05)
    pytest.fail(f"not within 60 s: {what}")


def is_at_work(client: Client, task_id: str) -> bool:
    return any(activity.status is None for activity in client.list_activities(task_id))


def test_deadlines_of_the_server_move_and_the_container_goes_on_in_real_time():
    with server("podman") as ac:
        ac.script(tool("sleep 600"), finish(), instructions="slow")
        ac.script(hibernate(7 * 86_400), tool("echo awake > out"), finish("Awake"), instructions="sleep")
        slow = ac.client.create_task(CODING, instructions="slow", overrides={"maxRuntimeSeconds": 3600}).id
        asleep = ac.client.create_task(CODING, instructions="sleep").id
        until(lambda: is_at_work(ac.client, slow), "the command runs")
        until(lambda: ac.client.get_task(asleep).status == "hibernating", "the task sleeps")
        began = time.monotonic()
        ac.clock.advance("7d")
        assert time.monotonic() - began < 30
        failed = ac.client.get_task(slow)
        assert failed.status == "failed" and "maxRuntimeSeconds" in failed.error
        ran = datetime.fromisoformat(failed.completed_at) - datetime.fromisoformat(failed.started_at)
        assert timedelta(hours=1) <= ran < timedelta(hours=1, seconds=1)
        until(lambda: ac.client.get_task(asleep).status == "finished", "the task that slept is finished")
        assert ac.client.get_task(asleep).result == "Awake"
