"""The places that the suite runs against: how each is opened for a store, and made unavailable.

A backend of your own needs a class like these, and its name in PLACES.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from platformdirs import user_cache_path

from agentcontainer_local.pi import bundle
from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.sandbox import podman
from agentcontainer_local.sandbox.backend import Backend, ImageChoice, RunSpec
from agentcontainer_local.sandbox.podman import backend as podman_backend
from agentcontainer_local.sandbox.simulated import Simulation
from agentcontainer_local.settings import Settings
from tests.backends.guest_host import GuestHost

LIMITS = Limits(memory_mb=2048, cpus=None, processes=512, open_files=1024, workspace_mb=1024)


class Place(Protocol):
    image: ImageChoice  # one that can be had
    missing_image: ImageChoice  # one that cannot

    def opened(self, store_id: str) -> AbstractAsyncContextManager[Backend]:
        """A server's life: what it left at work is there when the next one is opened for the same store."""
        ...

    def away(self, store_id: str) -> AbstractAsyncContextManager[Backend]:
        """The same, while no run could be started there."""
        ...


class SimulatedPlace:
    def __init__(self, folder: Path):
        self.image = ImageChoice("coding", None)
        self.missing_image = ImageChoice(None, "localhost/no-such-image:1")
        self.simulation = Simulation(folder, survives_server=True)
        self.simulation.missing_images.add("localhost/no-such-image:1")

    @contextlib.asynccontextmanager
    async def opened(self, store_id: str) -> AsyncIterator[Backend]:
        yield self.simulation.backend(store_id)

    @contextlib.asynccontextmanager
    async def away(self, store_id: str) -> AsyncIterator[Backend]:
        self.simulation.away = "the test says so"
        try:
            yield self.simulation.backend(store_id)
        finally:
            self.simulation.away = None


class Slot(NamedTuple):
    id: str
    name: str
    uid: int


class Remembered:
    """In the place of the tasks' rows."""

    def __init__(self):
        self._slots: dict[str, Slot] = {}  # by task

    def slot_of(self, task_id: str) -> Slot | None:
        return self._slots.get(task_id)

    def task_of(self, slot_id: str) -> str | None:
        return next((task_id for task_id, slot in self._slots.items() if slot.id == slot_id), None)

    def put(self, task_id: str, slot_id: str, name: str, uid: int) -> None:
        assert self.task_of(slot_id) in (None, task_id)
        self._slots[task_id] = Slot(slot_id, name, uid)

    def forget(self, task_id: str) -> None:
        self._slots.pop(task_id, None)

    def slots(self) -> Iterable[Slot]:
        return list(self._slots.values())


class PodmanPlace:
    """Real containers of the standard image, with the real guest and the real Pi in them."""

    def __init__(self, folder: Path):
        self.image = ImageChoice("coding", None)
        self.missing_image = ImageChoice(None, "localhost/no-such-image:1")
        self._folder = folder
        self._runtime = bundle.prepare(user_cache_path("agentcontainer"), print)
        self._remembered: dict[str, Any] = {}

    def opened(self, store_id: str, **settings: str) -> AbstractAsyncContextManager[Backend]:
        remembered = self._remembered.setdefault(store_id, Remembered())
        return podman_backend.open(
            Settings(data=self._folder, **{"warm": 0, **settings}), store_id, remembered, self._runtime
        )

    def away(self, store_id: str) -> AbstractAsyncContextManager[Backend]:
        return self.opened(store_id, podman_socket=str(self._folder / "nobody-listens.sock"))


class WarmPlace(PodmanPlace):
    """The same, where a container waits for each run that begins: another one's limits apart, all are of one kind."""

    @contextlib.asynccontextmanager
    async def opened(self, store_id: str, **settings: str) -> AsyncIterator[Backend]:
        async with super().opened(store_id, warm=1, **settings) as backend:
            if "podman_socket" not in settings:
                await self._warm(backend)
            yield backend

    async def _warm(self, backend: podman_backend.PodmanBackend) -> None:
        await backend.prepare(self.image, print)
        launch = GuestHost().launch
        await backend.pool.take(RunSpec("", "", 1, self.image, launch, LIMITS, "container", False, first=True))
        async with asyncio.timeout(60):
            while not backend.pool.waiting:
                await asyncio.sleep(0.05)


PLACES = {"simulated": SimulatedPlace, "podman": PodmanPlace, "podman with waiting containers": WarmPlace}
__all__ = ["PLACES", "Place", "podman"]
