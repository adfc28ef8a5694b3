"""Bytes on their way in, where whoever receives them is stopped at any moment."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from agentcontainer_local.store import files
from agentcontainer_local.store.db import new_id


async def received(root: Path, size: int) -> None:
    async with files.receiving(root, new_id("file"), size) as incoming:
        for _ in range(size // 500_000):
            await incoming.write(b"x" * 500_000)
    files.discard(root, [incoming.name])


@pytest.mark.parametrize("times", [1, 3])
async def test_who_is_stopped_while_bytes_come_in_leaves_none(tmp_path: Path, times: int):
    """A run that ends stops what its agent was sending; the disk's thread can't be stopped, and goes on for a while."""
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    (tmp_path / "incoming").mkdir()
    for tick in range(100):
        receiving = asyncio.create_task(received(tmp_path, 3_000_000))
        await asyncio.sleep(tick % 100 / 5000)
        for _ in range(times):
            receiving.cancel()
            await asyncio.sleep(0)
        with contextlib.suppress(asyncio.CancelledError):
            await receiving
    await asyncio.sleep(0.5)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert unheard == []
