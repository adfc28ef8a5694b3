"""Slots that wait, while others take them and others give them up: each is one task's, or it is removed."""

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.backend import ImageChoice
from agentcontainer_local.sandbox.podman.pool import Kind, Pool, Waiting
from agentcontainer_local.sandbox.podman.slots import Slot, Slots
from agentcontainer_local.sandbox.podman.starts import Started
from agentcontainer_local.sandbox.podman.waiting import Door
from agentcontainer_local.store import tasks
from tests.backends.places import LIMITS

PLENTY, LITTLE = (f"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {kb} kB\n" for kb in (500, 90))
KIND = Kind(ImageChoice("coding", None), "image", LIMITS, "container", False, "{}")


class Machine:
    """Podman's part: containers are removed, and networks looked at, when the test lets that go on."""

    store_id = "str_pool"

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        self.broken: set[str] = set()  # containers whose network is gone

    async def remove(self, name: str) -> None:
        self.removed.append(name)
        self.begun.set()
        await self.goes_on.wait()

    async def remove_volume(self, name: str) -> None:
        self.removed.append(name)

    async def network_works(self, found: dict) -> bool:
        return found["Name"] not in self.broken


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
async def pool(host, machine: Machine, tmp_path: Path) -> Pool:
    slots = Slots(machine, tasks.Remembered(host.db), tmp_path)
    pool = Pool(3, machine, slots, None, None)
    pool.memory = tmp_path / "meminfo"
    for number in (1, 2):
        slot = Slot(f"slt_{number}", f"container-{number}", 20_000 + number, tmp_path / "runs" / f"slt_{number}")
        slot.directory.mkdir(parents=True)
        (slot.directory / "host.sock").touch()
        started = Started(number, None, found={"Name": slot.name})
        waiting = Waiting(KIND, slot, Door(), started, asyncio.get_running_loop().create_future(), AsyncExitStack())
        pool.waiting.append(waiting)
    return pool


async def test_a_slot_that_a_task_takes_while_another_one_is_given_up_is_left_to_it(pool: Pool, machine: Machine):
    pool.memory.write_text(LITTLE)
    looking = asyncio.create_task(pool._look())
    await machine.begun.wait()
    taken = await pool._of_kind(KIND)
    machine.goes_on.set()
    await looking
    assert taken is not None and taken.slot.id == "slt_2"
    assert [name for name in machine.removed if name.startswith("container-2")] == []


async def test_a_task_whose_slot_is_of_no_use_takes_none_that_another_task_has_taken_meanwhile(
    pool: Pool, machine: Machine
):
    machine.broken.add("container-1")
    first = asyncio.create_task(pool._of_kind(KIND))
    await machine.begun.wait()
    second = await pool._of_kind(KIND)
    machine.goes_on.set()
    assert second is not None and second.slot.id == "slt_2"
    assert await first is None  # it is started without one


async def test_slots_are_given_up_while_tasks_start_without_a_pause_and_take_the_memory(pool: Pool, machine: Machine):
    machine.goes_on.set()
    pool.memory.write_text(PLENTY)
    pool.used(KIND)
    with pool.starting():
        looking = asyncio.create_task(pool._look())  # wants a third slot, and waits until no task starts
        await asyncio.sleep(0)
        pool.memory.write_text(LITTLE)
        await asyncio.wait_for(looking, 10)
        await pool._look()
    assert pool.waiting == []


async def test_slots_whose_runtime_directory_is_gone_are_not_given_to_tasks(pool: Pool, machine: Machine):
    machine.goes_on.set()
    pool.memory.write_text(PLENTY)
    first, second = pool.waiting
    shutil.rmtree(first.slot.directory)
    assert await pool._of_kind(KIND) is second
    assert await pool._of_kind(KIND) is None
    await pool._look()
    assert pool.waiting == [] and first.slot.name in machine.removed


async def test_after_a_failure_slots_are_given_up_at_once_when_memory_is_short(
    pool: Pool, machine: Machine, monkeypatch
):
    monkeypatch.setattr("agentcontainer_local.sandbox.podman.pool.LOOK_SECONDS", 0.01)
    machine.goes_on.set()
    pool.memory.write_text(PLENTY)
    pool.used(KIND)  # a third slot cannot be made: nothing here can start a container
    running = asyncio.create_task(pool.run())
    while not pool._fills_again_at:
        await asyncio.sleep(0.01)
    pool.memory.write_text(LITTLE)
    async with asyncio.timeout(10):
        while pool.waiting:
            await asyncio.sleep(0.01)
    running.cancel()
