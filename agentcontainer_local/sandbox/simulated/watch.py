"""The limits of a simulated run: what is written to disk is measured, the rest is what its script says."""

import asyncio

from agentcontainer_local.resource_limits import MB, Limits
from agentcontainer_local.sandbox.backend import Broken
from agentcontainer_local.sandbox.simulated.files import Kept

MEASURED = "workspace_mb"


class Watch:
    def __init__(self, kept: Kept, limits: Limits):
        self._kept = kept
        self._limits = limits
        self.broken: asyncio.Future[Broken] = asyncio.get_running_loop().create_future()

    def exceed(self, limit: str, used: int | None) -> None:
        """`used`: in MB, or in processes."""
        self.broken.set_result(Broken(limit, used, getattr(self._limits, limit, 0)))

    def look(self) -> bool:
        """After something was written: whether it is too much."""
        used = self._kept.size_bytes() / MB
        if used <= self._limits.workspace_mb:
            return False
        self.exceed(MEASURED, round(used))
        return True
