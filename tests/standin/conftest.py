"""A server for test suites, as such a suite starts it."""

from collections.abc import Iterator

import pytest

from agentcontainer_local.testing import Server, server


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    with server() as ac:
        yield ac


@pytest.fixture(scope="session")
def podman_server() -> Iterator[Server]:
    """The same, with real containers and the real Pi."""
    with server("podman") as ac:
        yield ac


@pytest.fixture
def ac(shared_server: Server) -> Iterator[Server]:
    shared_server.reset()
    yield shared_server
