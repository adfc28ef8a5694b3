"""Limits of a simulated run. Disk usage is measured; other limits are exceeded only by a script."""

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
        """Reports an exceeded limit. `used`: in MB, or number of processes."""
        self.broken.set_result(Broken(limit, used, getattr(self._limits, limit, 0)))

    def look(self) -> bool:
        """Measures the disk usage, and reports if it is too high. Returns whether it is."""
        used = self._kept.size_bytes() / MB
        if used <= self._limits.workspace_mb:
            return False
        self.exceed(MEASURED, round(used))
        return True
