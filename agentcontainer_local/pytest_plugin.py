"""The plugin for pytest: the fixture `agentcontainer`, a server that is empty for each test.

    from agentcontainer_local.testing import finish

    def test_report(agentcontainer):
        agentcontainer.script(finish("Done", files={"report.txt": b"42"}))
        assert make_report(agentcontainer.url, agentcontainer.key) == "42"

It loads nothing else of the package until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from agentcontainer_local.testing import Server
    from agentcontainer_local.testing.server import Backend

BACKENDS = ("simulated", "podman")
MARK = (
    "agentcontainer(**settings): this test's `agentcontainer` is a server of its own, with these settings,"
    ' such as backend="podman"'
)
RECORD = (
    "For tests marked with agentcontainer(replay=DIR): ask the real model providers, and record the answers in DIR."
    " `new`: of tasks that have no recording yet; `all`: of all tasks"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "Backend of the fixtures agentcontainer and agentcontainer_session"
    group = parser.getgroup("agentcontainer")
    group.addoption("--agentcontainer-backend", choices=BACKENDS, help=f"{words}.")
    group.addoption("--agentcontainer-record", choices=("new", "all"), help=RECORD)
    parser.addini("agentcontainer_backend", f"{words}: simulated or podman.", default=BACKENDS[0])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)
    if (given := config.getini("agentcontainer_backend")) not in BACKENDS:
        raise pytest.UsageError(f"agentcontainer_backend is {given!r}. Give simulated or podman.")


@pytest.fixture(scope="session")
def _agentcontainer_backend(pytestconfig: pytest.Config) -> Backend:
    given = pytestconfig.getoption("--agentcontainer-backend") or pytestconfig.getini("agentcontainer_backend")
    return cast("Backend", given)


@pytest.fixture(scope="session")
def _agentcontainer_server(_agentcontainer_backend: Backend) -> Iterator[Server]:
    """What the tests of one process use, one after another. It is emptied after each."""
    from agentcontainer_local import testing

    with testing.server(_agentcontainer_backend) as server:
        yield server


@pytest.fixture
def agentcontainer(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with an empty store: `url`, `key`, `client`, `script`, `clock`, `faults`.

    After the test, a script that did not fit fails it. The address and the key are the same in all tests of a process.
    """
    from agentcontainer_local import testing

    if (mark := request.node.get_closest_marker("agentcontainer")) and mark.args:
        raise pytest.UsageError('The mark agentcontainer takes settings by name, such as backend="podman".')
    if mark and mark.kwargs:
        with testing.server(**_settings(request, mark.kwargs)) as server:
            yield server
            server.check()
        return
    server = request.getfixturevalue("_agentcontainer_server")
    try:
        yield server
        server.check()
    finally:
        server.reset()


def _settings(request: pytest.FixtureRequest, given: Mapping[str, Any]) -> dict[str, Any]:
    """A directory of recordings is named as seen from the test's file."""
    settings = {"backend": request.getfixturevalue("_agentcontainer_backend"), **given}
    for name in {"record", "replay"} & settings.keys():
        settings[name] = request.path.parent / settings[name]
    record = request.config.getoption("--agentcontainer-record")
    if record and "replay" in settings:
        settings["record"] = settings["replay"]
        if record == "all":
            del settings["replay"]
    return settings


@pytest.fixture(scope="session")
def agentcontainer_session(_agentcontainer_backend: Backend) -> Iterator[Server]:
    """A server for all tests of a process, which is never emptied: for state that is expensive to make."""
    from agentcontainer_local import testing

    with testing.server(_agentcontainer_backend) as server:
        yield server
        server.check()
