"""Work that a cancellation waits for."""

import asyncio
import threading

import pytest

from agentcontainer_local.process.shield import to_the_end


async def test_what_cannot_be_stopped_is_waited_for_however_often_it_is_cancelled():
    may_end = threading.Event()
    waiting = asyncio.create_task(to_the_end(asyncio.to_thread(may_end.wait, 60)))
    for _ in range(3):
        await asyncio.sleep(0.01)
        waiting.cancel()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_goes_wrong_after_a_cancellation_is_not_heard():
    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    waiting = asyncio.create_task(to_the_end(_fails()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert unheard == []


async def test_what_goes_wrong_without_one_is():
    with pytest.raises(OSError, match="no more room"):
        await to_the_end(_fails())


async def _fails() -> None:
    await asyncio.sleep(0.02)
    raise OSError("no more room")
