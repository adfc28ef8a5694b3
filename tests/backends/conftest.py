"""Each test of the suite runs once for each place; nothing of it stays there."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agentcontainer_local.resource_limits import Limits
from agentcontainer_local.sandbox.backend import Backend, Found, Handle, ImageChoice, RunSpec
from tests.backends.guest_host import GuestHost
from tests.backends.places import LIMITS, PLACES, Place


@pytest.fixture(scope="session", params=PLACES)
def place(request, tmp_path_factory) -> Place:
    return PLACES[request.param](tmp_path_factory.mktemp(request.param))


class Store:
    """One store's tasks at a place. A task's runs are counted, as its rows would be."""

    def __init__(self, place: Place, backend: Backend, id: str):
        self.place, self.backend, self.id = place, backend, id
        self.tasks: dict[str, int] = {}

    def task(self, name: str = "task") -> str:
        """A new task's id."""
        self.tasks[id := f"tsk_{name}{uuid.uuid4().hex[:12]}"] = 0
        return id

    def running(
        self,
        task_id: str,
        host: GuestHost,
        found: Found | None = None,
        image: ImageChoice | None = None,
        limits: Limits = LIMITS,
        launch: Callable | None = None,
    ):
        """The next run of the task, or the one that was found."""
        number = self.tasks.get(task_id, 0) + (found is None)
        self.tasks[task_id] = number
        if found is None:
            host.next_run()
        spec = RunSpec(
            task_id=task_id,
            run_id=f"run_{number}",
            number=number,
            image=image or self.place.image,
            launch=launch or host.launch,
            limits=limits,
            isolation="container",
            internet=False,
            first=number == 1,
        )
        return self.backend.running(spec, host.guest, found)

    async def start(self, stack: AsyncExitStack, task_id: str, host: GuestHost, **options) -> Handle:
        await self.backend.prepare(options.get("image") or self.place.image, lambda words: None)
        return await stack.enter_async_context(self.running(task_id, host, **options))

    async def found(self, task_id: str) -> Found | None:
        return next((found for found in await self.backend.found() if found.task_id == task_id), None)

    async def clear(self) -> None:
        for task_id in self.tasks:
            await self.backend.remove(task_id)
            await self.backend.forget(task_id)


@pytest.fixture
async def store(place: Place) -> AsyncIterator[Store]:
    id = f"str_{uuid.uuid4().hex[:8]}"
    async with place.opened(id) as backend:
        yield (store := Store(place, backend, id))
        await store.clear()


@pytest.fixture
async def other_store(place: Place) -> AsyncIterator[Store]:
    id = f"str_{uuid.uuid4().hex[:8]}"
    async with place.opened(id) as backend:
        yield (store := Store(place, backend, id))
        await store.clear()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Runs that a test starts are let go at its end."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _working_directory(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
