"""What most tests start from: a host with a real store and no Podman, a clock that stands still, and clients."""

import dataclasses
import fcntl
import functools
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import hypothesis
import pytest
import uvloop

from agentcontainer_local.api import routes
from agentcontainer_local.engine.host import Host
from agentcontainer_local.http import routing
from agentcontainer_local.process import clock as clocks
from agentcontainer_local.process.movable_clock import MovableClock
from agentcontainer_local.sandbox.backend import Capabilities
from agentcontainer_local.settings import Settings
from agentcontainer_local.store import accounts, agents, clock_steps, containers, db
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.secrets import Vault
from tests.simulated import simulated_server  # noqa: F401
from tests.time_limit import *  # noqa: F403 - its hooks

# A container that waits for the next task would take processors from the next test, on a machine that has two: servers
# of tests have none. Those of tests that are about such containers say otherwise.
os.environ["AGENTCONTAINER_WARM"] = "0"

# Who starts the tests in the background may have it ignored, and what they start would then know no Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on the machine's load, and a fixture is opened once for all examples.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tests")

KEY = "ac_live_" + "k" * 32


TESTS = Path(__file__).parent
# Files with a test of a minute, or many of seconds: they begin first, so that none of them is left at the end.
LONG = ("unit/test_api_drift.py", "system/test_packages.py", "system/test_crashes.py", "system/test_restarts.py")


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test has its folder's name as a mark: `-m guest` runs tests/guest."""
    if item.path.is_relative_to(TESTS):
        item.add_marker(item.path.relative_to(TESTS).parts[0])
    for mark in item.iter_markers("retried"):
        why = mark.args[0] if mark.args else ""
        assert why, f"{item.nodeid}: say why this test may be run a second time"
        item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = {TESTS / name for name in LONG}
    items.sort(key=lambda item: item.path not in long)


def pytest_asyncio_loop_factories(config, item) -> dict:
    """What is tested within the tests' process runs on the same event loop as the server does."""
    return {"uvloop": uvloop.new_event_loop}


class Clock(MovableClock):
    """All clocks of a machine, which stand still until a test moves them."""

    def __init__(self):
        super().__init__(datetime(2026, 3, 25, 9, 30, tzinfo=UTC))
        self._suspended = 0.0
        self._elapsed = lambda: self.steady() + self._suspended

    @property
    def at(self) -> datetime:
        return self.read().wall

    def set(self, seconds: float) -> None:
        """The wall clock is set forward, or back."""
        self.began_at += timedelta(seconds=seconds)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps."""
        self.began_at += timedelta(seconds=seconds)
        self._suspended += seconds

    def reboot(self) -> None:
        """The steady clock begins again, by the wall clock in no time."""
        self.began_at, self._moved = self.at - timedelta(seconds=3), 3_000_000


@pytest.fixture
def builds_alone() -> Iterator[None]:
    """For a test that builds images: no other such test runs meanwhile, in no session of this account."""
    with Path(tempfile.gettempdir(), f"agentcontainer-tests-builds-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(tmp_path: Path, clock: Clock) -> Iterator[Host]:
    host = opened_host(tmp_path, clock)
    host.db.conn.execute("PRAGMA synchronous=OFF")  # what a power cut leaves is test_store's
    yield host
    host.db.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id: str) -> Path:
    """A folder of all processes of this run."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def compiled(shared: Path) -> Path:
    """Where Node keeps what it has compiled, for all tests that start Pi: half of a start is compiling."""
    folder = shared / "compiled"
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _new_store() -> bytes:
    """A store without rows. To make one takes a process more than most tests do."""
    with tempfile.TemporaryDirectory() as folder:
        db.open(Path(folder, "new.db")).close()
        return Path(folder, "new.db").read_bytes()


def opened_host(folder: Path, now: clocks.Clock) -> Host:
    settings = Settings(data=folder / "data", cache=folder / "cache")
    settings.data.mkdir()
    file = settings.data / "agentcontainer.db"
    file.write_bytes(_new_store())
    store = db.open(file)
    store.conn.execute("INSERT INTO store VALUES ('str_test', ?)", (db.iso(now()),))
    clock_steps.resume(store, now.read())
    now.jumped = lambda by, set_by: clock_steps.taken(store, by, set_by)
    context = Context(store, Vault.open(settings.data / "secret.key"), settings, {"AGENTCONTAINER_API_KEY": KEY}, now)
    accounts.ensure(context)
    containers.ensure_standard(store, now())
    agents.ensure_standard(store, now())
    return Host(dataclasses.replace(context, environ={}), Nowhere(), "str_test", {})


def set_context(host: Host, **parts) -> None:
    """Other settings, for example."""
    host.context = dataclasses.replace(host.context, **parts)


class Nowhere:
    """A place where no run can live."""

    capabilities = Capabilities("nowhere", (), internet=False, survives_server=False, survives_reboot=False)

    def disk(self) -> None:
        return None


@pytest.fixture
async def client(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """The account's own."""
    async with calling(host, KEY) as client:
        yield client


@pytest.fixture
async def stranger(host: Host) -> AsyncIterator[httpx.AsyncClient]:
    """Another account's: what belongs to the first one does not exist for it."""
    with host.db.atomic():
        host.db.conn.execute(
            "INSERT INTO accounts (id, billing_mode, created_at) VALUES ('acc_other', 'unlimited_grant', ?)",
            (db.iso(host.now()),),
        )
    _, key = accounts.create_key(host.db, "acc_other", "other", host.now())
    async with calling(host, key) as client:
        yield client


def calling(host: Host, key: str | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(routing.app(host, routes.ALL)),
        base_url="http://test/api/v1",
        headers={"authorization": f"Bearer {key}"} if key else {},
    )


@pytest.fixture
def upload(client: httpx.AsyncClient):
    """Uploads bytes as a client does; answers the file's id."""

    async def upload(content: bytes, filename: str = "data.csv", by: httpx.AsyncClient = client) -> str:
        prepared = (await by.post("/uploads/prepare", json={"filename": filename})).json()
        assert (await by.put(prepared["uploadUrl"], content=content)).status_code == 200
        completed = await by.post("/uploads/complete", json={"uploadId": prepared["uploadId"]})
        return completed.json()["fileId"]

    return upload
