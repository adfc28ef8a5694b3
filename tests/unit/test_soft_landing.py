"""When an agent is told to wrap up: the last part of its time is kept for `finish`, even where nobody asked for it."""

import pytest

from agentcontainer_local.engine.host import Host
from agentcontainer_local.engine.run.decide import OutOfTime, Wait
from agentcontainer_local.engine.run.follow import act
from agentcontainer_local.engine.run.follow import due as due_now
from agentcontainer_local.guest.commands import in_force
from agentcontainer_local.store import tasks
from tests.conftest import Clock
from tests.unit.test_races import running


def begun(host: Host, seconds: int, soft: int | None = None, conversation: bool = False) -> str:
    task = running(host, conversation)
    host.db.conn.execute(
        "UPDATE tasks SET max_runtime_seconds = ?, soft_finish_after_seconds = ? WHERE id = ?",
        (seconds, soft, task["id"]),
    )
    return task["id"]


def due(host: Host, task_id: str) -> float:
    """Does what is due; answers for how many seconds nothing else is, 0 when the run is to end."""
    while not isinstance(action := due_now(host, task := tasks.get(host.db, task_id)), Wait):
        act(host, task, action)
        if isinstance(action, OutOfTime):
            return 0
    return action.seconds


def told(host: Host, task_id: str) -> bool:
    return any(command["type"] == "steer" for command in in_force(host.db, task_id))


@pytest.mark.parametrize(
    ("seconds", "soft", "at"),
    [
        (60, None, 54),
        (600, None, 540),
        (3600, None, 3300),
        (604_800, None, 604_500),  # a tenth, five minutes at most
        (3600, 10, 10),
        (3600, 3599, 3599),
        (30, 20, 20),  # as asked
    ],
)
@pytest.mark.parametrize("conversation", [False, True])
async def test_the_agent_is_told_once_when_only_the_last_part_of_its_time_is_left(
    host: Host, clock: Clock, seconds: int, soft: int | None, at: int, conversation: bool
):
    task_id = begun(host, seconds, soft, conversation)
    clock.advance(at - 1)
    assert due(host, task_id) == pytest.approx(1)
    assert not told(host, task_id)
    clock.advance(1)
    changed = host.changed.mark(task_id)
    assert due(host, task_id) == pytest.approx(seconds - at)
    assert told(host, task_id) and changed.done()
    changed = host.changed.mark(task_id)
    assert due(host, task_id) == pytest.approx(seconds - at)
    assert not changed.done()
    clock.advance(seconds - at)
    assert due(host, task_id) == 0
    assert tasks.get(host.db, task_id)["status"] == ("awaiting_input" if conversation else "failed")


async def test_a_time_too_short_to_be_parted_is_the_agent_s_until_its_end(host: Host, clock: Clock):
    task_id = begun(host, 59)
    assert due(host, task_id) == 59
    clock.advance(58.5)
    assert due(host, task_id) == pytest.approx(0.5)
    assert not told(host, task_id)


async def test_time_in_which_no_container_runs_is_not_the_agent_s(host: Host, clock: Clock):
    task_id = begun(host, 600)
    clock.advance(500)
    tasks.apply(host.db, task_id, "interrupted", clock(), reason="The container was stopped.")
    tasks.end_run(host.db, task_id, clock())
    clock.advance(10_000)
    tasks.begin_run(host.db, task_id, clock())
    tasks.apply(host.db, task_id, "started", clock())
    assert due(host, task_id) == pytest.approx(40)
    clock.advance(40)
    due(host, task_id)
    assert told(host, task_id)
