"""Limits by real containers: who breaks one is told of, by cgroup or watchdog, and nobody else."""

import asyncio
import contextlib
import os

import pytest

from agentcontainer_local.sandbox.podman import Ceiling, Mounted, Ulimits, containers_conf, memory_usage, watchdog
from agentcontainer_local.sandbox.podman.watchdog import SCAN_SECONDS, Machine, Watched

MB = 1024**2
GB = 1024 * MB
AMPLE = Ceiling(memory_bytes=1024 * MB, processes=500, disk_bytes=1024 * MB)
SECONDS = 15


@pytest.fixture
async def watched(sandbox, spec):
    """Start a script and watch it: a future of what it breaks."""
    async with contextlib.AsyncExitStack() as stack:

        async def started(script: str, ceiling: Ceiling = AMPLE, **changes) -> asyncio.Future:
            created = await sandbox.create(spec(script, **changes))
            pid = await sandbox.start(created.id)
            return await stack.enter_async_context(sandbox.watching(created.id, pid, ceiling, empty=True))

        yield started


async def test_each_limit_is_kept_by_something_and_podman_agrees(sandbox, spec):
    created = await sandbox.create(spec(memory_bytes=64 * MB, cpus=0.5, pids=50))
    await sandbox.start(created.id)
    host = (await sandbox.inspect(created.id))["HostConfig"]
    asked_for = {"memory": ("Memory", 64 * MB), "cpus": ("CpuQuota", 50_000), "processes": ("PidsLimit", 50)}
    in_force = {name for name, (field, value) in asked_for.items() if host[field] == value}
    assert {name for name, by in created.limits.items() if by == "cgroup"} == in_force
    if not containers_conf.cgroups_are_v2():
        assert created.limits == {
            "memory": "watchdog", "cpus": "affinity", "processes": "ulimit and watchdog", "open_files": "ulimit",
            "disk": "watchdog",
        }  # fmt: skip


async def test_a_memory_hog_is_told_of_and_its_neighbour_is_not(watched):
    neighbour = await watched("sleep 600", uid=20002)
    hog = await watched(
        "dd if=/dev/zero of=/dev/null bs=200M count=100000", Ceiling(100 * MB, 500, 1024 * MB), uid=20003
    )
    broken = await asyncio.wait_for(hog, SECONDS)
    assert (broken.limit, broken.allowed) == ("memory", 100 * MB)
    assert 100 * MB < broken.used < 500 * MB
    assert not neighbour.done()


async def test_a_fork_bomb_is_told_of_and_grows_no_further_than_its_ulimit(watched):
    script = "(while :; do sleep 60 & done) 2>/dev/null & wait; exec sleep 60"
    bomb = await watched(script, Ceiling(1024 * MB, 60, 1024 * MB), uid=20004, pids=80)
    broken = await asyncio.wait_for(bomb, SECONDS)
    assert (broken.limit, broken.allowed) == ("processes", 60)
    assert 60 <= broken.used <= 81


@pytest.mark.parametrize("script", [
    "while :; do i=$((i+1)); dd if=/dev/zero of=/workspace/$i bs=1M count=40 2>/dev/null; done",
    "exec 3>/workspace/gone; rm /workspace/gone; dd if=/dev/zero bs=1M count=400 >&3; sleep 60",
    "dd if=/dev/zero of=/tmp/beside bs=1M count=400; sleep 60",
], ids=["many files", "a deleted file", "outside the workspace"])  # fmt: skip
async def test_a_disk_filler_is_told_of_wherever_it_writes(watched, sandbox, spec, script):
    name = spec().name
    await sandbox.create_volume(name, {}, 20005)
    filler = await watched(
        script, Ceiling(1024 * MB, 500, 150 * MB), uid=20005, volumes=(Mounted(name, "/workspace"),),
        ulimits=Ulimits(file_bytes=500 * MB),
    )  # fmt: skip
    broken = await asyncio.wait_for(filler, SECONDS)
    assert (broken.limit, broken.allowed) == ("disk", 150 * MB)
    assert broken.used > 150 * MB
    for container in await sandbox.found():
        await sandbox.remove(container.id)


async def test_what_a_container_held_before_it_was_watched_counts_too(sandbox, spec):
    """One that a server finds again, or that is woken, could else take half of its limit once more."""
    script = "dd if=/dev/zero of=/tmp/a bs=1M count=130; sleep 3; dd if=/dev/zero of=/tmp/b bs=1M count=40; sleep 60"
    created = await sandbox.create(spec(script, uid=20010))
    pid = await sandbox.start(created.id)
    for _ in range(100):
        if await sandbox.disk_bytes(created.id) >= 130 * MB:
            break
    async with sandbox.watching(created.id, pid, Ceiling(GB, 500, 150 * MB)) as filler:
        broken = await asyncio.wait_for(filler, SECONDS)
    assert broken.limit == "disk" and 150 * MB < broken.used < 180 * MB


async def test_a_disk_filler_is_told_of_while_it_rests(watched, monkeypatch):
    """From one measurement to the next that is due by time it would have for ever."""
    monkeypatch.setattr(watchdog, "RESTING", 1e9)
    monkeypatch.setattr(watchdog, "MAX_REST_SECONDS", 1e9)
    script = "while :; do i=$((i+1)); dd if=/dev/zero of=/tmp/$i bs=1M count=20 2>/dev/null; sleep 0.1; done"
    broken = await asyncio.wait_for(await watched(script, Ceiling(GB, 500, 300 * MB), uid=20005), SECONDS)
    assert (broken.limit, broken.allowed) == ("disk", 300 * MB)


async def test_a_measurement_that_takes_long_keeps_nobody_from_looking(watched, monkeypatch, tmp_path):
    (tmp_path / "disk_usage.py").write_text("import time\ntime.sleep(30)")  # as on a disk that is very slow
    monkeypatch.setattr(watchdog, "MEASURE", tmp_path / "disk_usage.py")
    script = "dd if=/dev/zero of=/tmp/some bs=1M count=100; sleep 60"
    filler = await watched(script, Ceiling(GB, 500, 50 * MB), uid=20008)
    await asyncio.sleep(2 * SCAN_SECONDS)
    hog = await watched("dd if=/dev/zero of=/dev/null bs=200M count=100000", Ceiling(100 * MB, 500, GB), uid=20009)
    assert (await asyncio.wait_for(hog, SECONDS)).limit == "memory"
    assert not filler.done()


@pytest.mark.parametrize(("passed", "free", "shared", "taken", "took", "must"), [
    (1, 40 * GB, 0, 0, 0, False),
    (59, 40 * GB, 0, 0, 0, False),
    (60, 40 * GB, 0, 0, 0, True),                   # others may have given back what it took
    (1, 35 * GB - 1, 0, 0, 0, True),                # half of what it may take is gone
    (1, 39 * GB, 0, 8 * GB, 0, False),
    (1, 39 * GB - 1, 0, 8 * GB, 0, True),
    (1, 40 * GB - 32 * MB, 0, 10 * GB, 0, False),
    (1, 40 * GB - 33 * MB, 0, 10 * GB, 0, True),
    (1, 40 * GB, GB // 4 + 1, 0, 0, True),
    (149, 35 * GB - 1, GB // 4 + 1, 0, 5, False),   # five seconds are dear
    (150, 40 * GB, 0, 0, 5, True),
    (599, 40 * GB, 0, 0, 60, False),
    (600, 40 * GB, 0, 0, 60, True),
    (1, 30 * GB, 0, 0, 5, False),
    (1, 30 * GB - 1, 0, 0, 5, True),                # its limit may be broken
    (1, 39 * GB, 0, 10 * GB, 5, False),             # by less than a tenth
    (1, 39 * GB - 1, 0, 10 * GB, 5, True),
    (1, 40 * GB, GB + 1, 0, 5, True),
])  # fmt: skip
async def test_a_container_is_measured_when_it_may_have_broken_a_limit(passed, free, shared, taken, took, must):
    broken = asyncio.get_running_loop().create_future()
    before = Machine(1000, 40 * GB, 0)
    one = Watched(1, Ceiling(GB, 500, 10 * GB), [], broken, None, before, disk_bytes=taken, took=took)
    assert one.must_be_measured(Machine(1000 + passed, free, shared)) is must


async def test_a_disk_that_is_nearly_full_is_reason_enough():
    broken = asyncio.get_running_loop().create_future()
    one = Watched(1, Ceiling(GB, 500, 10 * GB), [], broken, None, Machine(1000, GB, 0), took=5)
    assert not one.must_be_measured(Machine(1001, 512 * MB, 0))
    assert one.must_be_measured(Machine(1001, 511 * MB, 0))


async def test_whoever_keeps_below_its_limits_is_left_alone(watched):
    script = "dd if=/dev/zero of=/tmp/some bs=1M count=60; dd if=/dev/zero of=/dev/null bs=50M count=100000"
    modest = await watched(script, Ceiling(100 * MB, 50, 100 * MB), uid=20006)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(modest), 4 * SCAN_SECONDS)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
@pytest.mark.skipif(containers_conf.cgroups_are_v2(), reason="a cgroup shares the processors out")
async def test_processors_are_given_out_and_those_that_a_program_takes_are_taken_back(watched, sandbox):
    script = "for p in 1 $$; do taskset -p ff $p; done >/dev/null; nproc >&2; sleep 4; nproc >&2; sleep 60"
    await watched(f"nproc >&2; {script}", cpus=1)
    (container,) = await sandbox.found()
    for _ in range(100):
        if len(said := (await sandbox.logs_tail(container.id)).split()) == 3:
            break
        await asyncio.sleep(0.1)
    assert said == ["1", str(len(os.sched_getaffinity(0))), "1"]


async def test_one_look_counts_every_process_of_a_container_and_no_other(sandbox, spec):
    first, second = [
        await sandbox.start((await sandbox.create(spec("sleep 600 & sleep 600 & sleep 600", uid=20007))).id)
        for _ in range(2)
    ]
    await asyncio.sleep(0.5)
    seen = memory_usage.of_containers([first, second, 2**22 - 1])
    assert {pid: used.processes for pid, used in seen.items()} == {first: 4, second: 4}
    private, _ = memory_usage.exact(seen[first])
    assert 0 < private <= seen[first].private_bytes


def test_the_kernels_own_word_of_an_ended_process_is_read():
    assert memory_usage.oom_kill("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n") == 2
    assert memory_usage.oom_kill("") == 0
    scope = "user.slice/user-1000.slice/user@1000.service/user.slice/libpod-1.scope/container"
    assert str(memory_usage.memory_events(f"0::/{scope}\n")) == f"/sys/fs/cgroup/{scope}/memory.events"
    assert memory_usage.memory_events("12:memory:/user.slice\n0::/\n") is None
