"""Which slots wait, and when they are given up. Real containers with a real Pi wait; what the kernel says of memory is
written by the test."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from agentcontainer_local.sandbox.backend import ImageChoice
from agentcontainer_local.sandbox.podman.pool import Kind, Pool
from tests.backends.places import LIMITS, WarmPlace
from tests.system.conftest import podman

PLENTY, LITTLE = (f"MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: {kb} kB\n" for kb in (500, 90))


async def until(happened: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.05)


async def test_slots_are_given_up_while_memory_is_short_and_one_that_died_is_replaced(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("agentcontainer_local.sandbox.podman.pool.LOOK_SECONDS", 0.2)
    async with WarmPlace(tmp_path).opened("str_pool") as backend:
        pool = backend.pool
        [first] = pool.waiting
        os.kill(first.started.pid, signal.SIGKILL)
        await until(lambda: pool.waiting and pool.waiting != [first])
        (memory := tmp_path / "meminfo").write_text(LITTLE)
        pool.memory = memory
        await until(lambda: not pool.waiting and not pool.slot_ids)
        assert not [name for name in podman("ps", "-a", "--format", "{{.Names}}").split() if "str_pool" in name]
        memory.write_text(PLENTY)
        await until(lambda: pool.waiting)
        assert await backend.found() == []
    assert not [name for name in podman("ps", "-a", "--format", "{{.Names}}").split() if "str_pool" in name]
    assert not [name for name in podman("volume", "ls", "--format", "{{.Name}}").split() if "str_pool" in name]


async def test_the_workspace_of_an_agent_that_has_worked_is_kept_although_its_row_is_lost(tmp_path: Path):
    async with WarmPlace(tmp_path).opened("str_lost") as backend:
        pool = backend.pool
        [waiting] = pool.waiting
        folder = podman("volume", "inspect", "--format", "{{.Mountpoint}}", waiting.slot.volumes[1]).strip()
        podman("unshare", "mkdir", "-p", f"{folder}/sessions")
        podman("unshare", "touch", f"{folder}/sessions/one.jsonl")
        await backend._slots.discard(waiting.slot.id)
        assert not [name for name in podman("ps", "-a", "--format", "{{.Names}}").split() if "str_lost" in name]
        left = {name for name in podman("volume", "ls", "--format", "{{.Name}}").split() if "str_lost" in name}
        assert left == set(waiting.slot.volumes)
        podman("unshare", "rm", f"{folder}/sessions/one.jsonl")
        await backend._slots.discard(waiting.slot.id)
        assert not [name for name in podman("volume", "ls", "--format", "{{.Name}}").split() if "str_lost" in name]


def kind(name: str) -> Kind:
    return Kind(ImageChoice("coding", None), name, LIMITS, "container", False, "{}")


@pytest.mark.parametrize(("size", "used", "wait"), [
    (1, "", ""),
    (1, "A", "A"),
    (1, "AB", "A"),
    (1, "ABB", "B"),
    (3, "A", "AAA"),
    (2, "AABB", "AB"),
    (3, "AAAAAB", "AAA"),
    (3, "AAAABB", "AAB"),
])  # fmt: skip
def test_the_kinds_that_were_used_most_of_late_wait(size: int, used: str, wait: str):
    pool = Pool(size, None, None, None, None)
    for name in used:
        pool.used(kind(name))
    assert "".join(sorted(one.image_id for one in pool.wanted().elements())) == wait
