"""What the supervisor does with what a killed server left."""

import asyncio

from agentcontainer_local.engine import supervisor
from agentcontainer_local.engine.host import Host
from agentcontainer_local.sandbox.backend import Found
from agentcontainer_local.sandbox.errors import SandboxError
from tests.conftest import Clock


class Stubborn:
    """A backend that cannot remove anything so many times."""

    def __init__(self, times: int):
        self.times, self.discarded = times, []

    async def discard(self, found: Found) -> None:
        self.times -= 1
        if self.times >= 0:
            raise SandboxError("it is in use")
        self.discarded.append(found)


async def test_what_belongs_to_no_task_and_cannot_be_removed_at_once_is_removed_later(host: Host, clock: Clock):
    orphan = Found(None, True)
    host.backend = backend = Stubborn(2)
    ending = asyncio.create_task(supervisor._end_orphan(host, orphan))
    for _ in range(100):
        await asyncio.sleep(0)
        clock.advance(supervisor.RETRY_SECONDS)
        if ending.done():
            break
    await ending
    assert backend.discarded == [orphan]
