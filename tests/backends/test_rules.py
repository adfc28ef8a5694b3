"""The rules that every backend keeps: docs/adding-a-backend.md says them in words."""

import asyncio
import io
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from agentcontainer_local.process.disk_space import Disk
from agentcontainer_local.resource_limits import LEVELS, NAMES
from agentcontainer_local.sandbox.backend import Exports, Kills, Start
from agentcontainer_local.sandbox.errors import SandboxError, Unavailable
from tests.backends.conftest import LIMITS, Store
from tests.backends.guest_host import GuestHost

ENDED_SECONDS = 60
BROKEN_SECONDS = 120  # a place may measure once a minute


async def ended(handle):
    return await asyncio.wait_for(asyncio.shield(handle.exited), ENDED_SECONDS)


# Starting


async def test_a_guest_reaches_the_app_of_its_own_run_and_no_other(store: Store, stack: AsyncExitStack):
    hosts = [GuestHost(f"echo {name} > mine", "cat mine") for name in ("first", "second")]
    for host in hosts:
        handle = await store.start(stack, store.task(), host)
        assert handle.start is Start.FIRST
    assert [await host.printed(2) for host in hosts] == ["first", "second"]
    await asyncio.gather(*(host.heard("settled") for host in hosts))


async def test_the_launch_is_asked_once_just_before_the_guest_starts(store: Store, stack: AsyncExitStack):
    host = GuestHost("true")
    await store.backend.prepare(store.place.image, lambda words: None)
    running = store.running(store.task(), host)
    assert host.launches == 0
    await stack.enter_async_context(running)
    assert host.launches == 1
    await host.heard("settled")
    assert host.launches == 1


async def test_what_is_enforced_is_said_for_the_runs_row(store: Store, stack: AsyncExitStack):
    handle = await store.start(stack, store.task(), GuestHost())
    assert handle.image and isinstance(handle.image, str)
    assert handle.enforced["isolation"] in LEVELS
    assert all(isinstance(warning, str) for warning in handle.enforced["warnings"])
    assert handle.enforced["network"] == "none"
    limits = handle.enforced["limits"]
    assert {name: limits[name]["value"] for name in limits} | {"openFiles": 0} == {
        wire: getattr(LIMITS, name) for name, (wire, _) in NAMES.items()
    } | {"openFiles": 0}
    assert all(limit["by"] for limit in limits.values())


async def test_a_run_whose_launch_fails_is_not_alive_and_the_error_comes_out(store: Store):
    class Lost(Exception):
        pass

    def launch(env):
        raise Lost

    await store.backend.prepare(store.place.image, lambda words: None)
    task_id = store.task()
    with pytest.raises(Lost):
        async with store.running(task_id, GuestHost(), launch=launch):
            raise AssertionError("it started")
    found = await store.found(task_id)
    assert found is None or not found.alive


@pytest.mark.parametrize("moment", [0, 0.001, 0.01, 0.05, 0.2])
async def test_a_start_that_is_cancelled_leaves_no_run_alive(store: Store, moment: float):
    await store.backend.prepare(store.place.image, lambda words: None)
    task_id, entered = store.task(), False

    async def begin() -> None:
        nonlocal entered
        async with store.running(task_id, GuestHost()):
            entered = True
            await asyncio.get_running_loop().create_future()

    beginning = asyncio.create_task(begin())
    await asyncio.wait({beginning}, timeout=moment)
    beginning.cancel()
    await asyncio.wait({beginning})
    assert beginning.cancelled()
    if not entered:  # else it was let go
        found = await store.found(task_id)
        assert found is None or not found.alive


# Images


async def test_an_image_is_prepared_for_all_who_wait_even_if_one_of_them_goes(store: Store):
    waiting = [asyncio.create_task(store.backend.prepare(store.place.image, lambda words: None)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting)
    assert [one.exception() for one in waiting[1:]] == [None, None]


async def test_an_image_that_cannot_be_had_is_the_tasks_own_fault(store: Store):
    with pytest.raises(SandboxError) as error:
        await store.backend.prepare(store.place.missing_image, lambda words: None)
    assert not isinstance(error.value, Unavailable)
    assert "no-such-image" in str(error.value)


# What is kept


async def test_a_stop_keeps_files_and_session_for_the_next_run(store: Store):
    task_id, host = store.task(), GuestHost("echo kept > kept")
    async with AsyncExitStack() as stack:
        await store.start(stack, task_id, host)
        await host.heard("settled")
        await store.backend.stop(task_id)
    assert not (await store.found(task_id)).alive
    host.do("cat kept")
    async with AsyncExitStack() as stack:
        handle = await store.start(stack, task_id, host)
        assert (handle.start, handle.image, handle.enforced) == (Start.RESUMED, None, None)
        assert await host.printed(2) == "kept"
    assert "echo kept > kept" in str(host.asked[-1]["messages"])
    await store.backend.stop(task_id)


async def test_a_removed_run_is_made_anew_on_its_workspace_and_session(store: Store):
    task_id, host = store.task(), GuestHost("echo kept > kept; echo lost > /tmp/lost")
    async with AsyncExitStack() as stack:
        await store.start(stack, task_id, host)
        await host.heard("settled")
    await store.backend.remove(task_id)
    assert await store.found(task_id) is None
    host.do("cat kept", "cat /tmp/lost || echo gone")
    async with AsyncExitStack() as stack:
        handle = await store.start(stack, task_id, host)
        assert handle.start is Start.REMADE and handle.enforced is not None
        assert await host.printed(2) == "kept"
        assert "gone" in await host.printed(3)
    assert "echo kept > kept" in str(host.asked[-1]["messages"])
    await store.backend.stop(task_id)


async def test_what_is_forgotten_is_gone(store: Store):
    task_id, host = store.task(), GuestHost("echo kept > kept")
    async with AsyncExitStack() as stack:
        await store.start(stack, task_id, host)
        await host.heard("settled")
        await store.backend.stop(task_id)
    assert await store.backend.kept_bytes(task_id) > 0
    await store.backend.remove(task_id)
    await store.backend.forget(task_id)
    assert await store.found(task_id) is None
    store.tasks[task_id] = 0
    host.do("cat kept || echo gone")
    async with AsyncExitStack() as stack:
        handle = await store.start(stack, task_id, host)
        assert handle.start is Start.FIRST
        assert "gone" in await host.printed(2)
    await store.backend.stop(task_id)


async def test_forgetting_ends_what_is_alive(store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost("sleep 600")
    await store.start(stack, task_id, host)
    await host.heard("tool_started")
    await store.backend.forget(task_id)
    assert await store.found(task_id) is None


async def test_what_is_not_there_can_be_stopped_removed_and_forgotten(store: Store):
    task_id = store.task()
    for end in (store.backend.stop, store.backend.remove, store.backend.forget):
        await end(task_id)
    assert await store.backend.kept_bytes(task_id) == 0
    assert await store.found(task_id) is None


async def test_kept_bytes_grow_with_what_is_written(store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost(f"echo {'x' * 50_000} > a; cat a a a a > b")
    await store.start(stack, task_id, host)
    await host.printed(1)
    before = 50_000
    assert await store.backend.kept_bytes(task_id) >= 5 * before
    await store.backend.stop(task_id)
    assert await store.backend.kept_bytes(task_id) >= 5 * before


async def test_the_disk_is_told_where_runs_use_one(store: Store):
    disk = store.backend.disk()
    assert disk is None or (isinstance(disk, Disk) and 0 < disk.free_percent <= 100)


# How a run ends


async def test_an_agent_that_dies_is_told_with_its_last_words(store: Store, stack: AsyncExitStack):
    host = GuestHost("kill -9 $PPID; sleep 30")
    handle = await store.start(stack, store.task(), host)
    exit = await ended(handle)
    assert exit.died and exit.last_words


async def test_a_run_that_is_stopped_has_not_died(store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost("sleep 600")
    handle = await store.start(stack, task_id, host)
    await host.heard("tool_started")
    await store.backend.stop(task_id)
    assert not (await ended(handle)).died
    assert not (await store.backend.last_exit(task_id)).died


async def test_a_run_that_is_killed_has_died_and_the_next_one_finds_its_workspace(store: Store, stack: AsyncExitStack):
    if not isinstance(store.backend, Kills):
        pytest.skip("this place kills no runs")
    task_id, host = store.task(), GuestHost("echo kept > file", "sleep 600")
    async with AsyncExitStack() as first:
        handle = await store.start(first, task_id, host)
        await host.printed(1)
        await store.backend.kill(task_id)
        exit = await ended(handle)
        assert exit.died and exit.last_words
    again = GuestHost("cat file")
    await store.start(stack, task_id, again)
    assert await again.printed(1) == "kept"


async def test_a_broken_limit_is_reported_and_the_run_is_left_to_the_engine(store: Store, stack: AsyncExitStack):
    cat = " && ".join(f"cat {'x' * n} {'x' * n} {'x' * n} {'x' * n} > {'x' * (n + 1)}" for n in range(1, 7))
    host = GuestHost("sleep 2", f"echo {'0123456789' * 1000} > x; {cat}", "sleep 600")
    task_id = store.task()
    handle = await store.start(stack, task_id, host, limits=replace(LIMITS, workspace_mb=16))
    broken = await asyncio.wait_for(asyncio.shield(handle.broken), BROKEN_SECONDS)
    assert (broken.limit, broken.allowed) == ("workspace_mb", 16)
    assert broken.used is None or broken.used > 16
    assert not handle.exited.done()
    await store.backend.stop(task_id)


# Servers that end


async def reopened(store: Store, stack: AsyncExitStack) -> Store:
    """The next server's view of the same store."""
    backend = await stack.enter_async_context(store.place.opened(store.id))
    next_one = Store(store.place, backend, store.id)
    next_one.tasks = store.tasks
    return next_one


async def test_a_run_goes_on_while_no_server_is_there_and_is_adopted(store: Store, stack: AsyncExitStack):
    if not store.backend.capabilities.survives_server:
        pytest.skip("a run of this place ends with its server")
    task_id, host = store.task(), GuestHost("echo one > log", "sleep 1; cat log")
    async with AsyncExitStack() as first:
        await store.start(first, task_id, host)
        await host.heard("tool_started", 2)
    seen = host.seen
    after = await reopened(store, stack)
    found = await after.found(task_id)
    assert found.alive
    host.do("echo adopted")
    handle = await stack.enter_async_context(after.running(task_id, host, found=found))
    assert (handle.start, handle.image, handle.enforced) == (Start.ADOPTED, None, None)
    assert [await host.printed(2), await host.printed(3)] == ["one", "adopted"]
    assert host.launches == 1 and host.seen > seen
    await after.backend.stop(task_id)
    assert not (await ended(handle)).died


async def test_a_run_that_was_stopped_while_no_server_looked_is_found_ended(store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost("echo kept > kept", "sleep 600")
    async with AsyncExitStack() as first:
        await store.start(first, task_id, host)
        await host.heard("tool_started", 2)
    after = await reopened(store, stack)
    await after.backend.stop(task_id)
    assert not (await after.found(task_id)).alive
    assert not (await after.backend.last_exit(task_id)).died
    host.do("cat kept")
    handle = await after.start(stack, task_id, host)
    assert handle.start is Start.RESUMED
    assert await host.printed(2) == "kept"
    await after.backend.stop(task_id)


async def test_a_life_that_nobody_follows_ends_when_the_next_one_begins(store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost("echo kept > kept", "sleep 600")
    async with AsyncExitStack() as first:
        await store.start(first, task_id, host)
        await host.heard("tool_started", 2)
    handle = await store.start(stack, task_id, host)
    assert handle.start is Start.RESUMED
    assert [found.alive for found in await store.backend.found() if found.task_id == task_id] == [True]
    await store.backend.stop(task_id)


async def test_what_belongs_to_no_task_can_be_discarded(store: Store):
    task_id, host = store.task(), GuestHost("sleep 600")
    async with AsyncExitStack() as stack:
        await store.start(stack, task_id, host)
        await host.heard("tool_started")
    await store.backend.discard(await store.found(task_id))
    assert await store.found(task_id) is None


async def test_two_stores_never_meet(store: Store, other_store: Store, stack: AsyncExitStack):
    task_id, host = store.task(), GuestHost("echo kept > kept", "sleep 600")
    handle = await store.start(stack, task_id, host)
    await host.heard("tool_started", 2)
    assert await other_store.backend.found() == []
    for end in (other_store.backend.stop, other_store.backend.remove, other_store.backend.forget):
        await end(task_id)
    assert await other_store.backend.kept_bytes(task_id) == 0
    assert (await store.found(task_id)).alive and not handle.exited.done()
    await store.backend.stop(task_id)
    assert await store.backend.kept_bytes(task_id) > 0


async def test_a_place_that_is_away_is_unavailable_and_no_tasks_fault(store: Store):
    async with store.place.away(f"{store.id}x") as backend:
        away = Store(store.place, backend, f"{store.id}x")
        with pytest.raises(Unavailable) as reason:
            await backend.ready()
        assert str(reason.value)
        with pytest.raises(Unavailable):
            await backend.found()
        with pytest.raises(Unavailable):
            async with away.running("tsk_away", GuestHost()):
                raise AssertionError("it started")


# Exports


async def test_workspace_and_session_can_be_taken_to_another_store(store: Store, other_store: Store):
    if not isinstance(store.backend, Exports):
        pytest.skip("this backend exports nothing")
    task_id, host = store.task(), GuestHost("echo kept > kept")
    async with AsyncExitStack() as stack:
        await store.start(stack, task_id, host)
        await host.heard("settled")
        await store.backend.stop(task_id)
    copy = other_store.task()
    for part in ("workspace", "session"):
        with store.backend.export(task_id, part)() as archive:
            taken = archive.read()
        await asyncio.to_thread(other_store.backend.import_, copy, part, io.BytesIO(taken))
    other_store.tasks[copy] = 1
    host.do("cat kept")
    async with AsyncExitStack() as stack:
        handle = await other_store.start(stack, copy, host)
        assert handle.start is Start.REMADE
        assert await host.printed(2) == "kept"
    assert "echo kept > kept" in str(host.asked[-1]["messages"])
    await other_store.backend.stop(copy)


async def test_nothing_can_be_exported_of_a_task_of_which_nothing_is_kept(store: Store):
    if not isinstance(store.backend, Exports):
        pytest.skip("this backend exports nothing")
    with pytest.raises(FileNotFoundError), store.backend.export(store.task(), "workspace")():
        raise AssertionError("there was something")
