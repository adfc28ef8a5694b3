"""Why uvicorn has an upper bound: `Connection` is a subclass of a class that is no public interface of uvicorn's.

A new release may rename what we override: Python then calls uvicorn's own method, and a bound on what we keep of a
client is silently gone. So each release is let in by hand, after these tests and a look at its `httptools_impl.py`.
Up to 0.44 there is no `_start_asgi_task`, so a request whose client has gone would never end.
"""

import ast
import inspect
import textwrap
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from agentcontainer_local.process.connection_limits import Connection

OVERRIDDEN = {
    "_start_asgi_task",
    "connection_lost",
    "connection_made",
    "data_received",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "send_400_response",
}


def required() -> Requirement:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    return next(one for one in map(Requirement, project["dependencies"]) if one.name == "uvicorn")


def test_only_releases_that_were_looked_at_are_let_in():
    major, minor = map(int, version("uvicorn").split(".")[:2])
    bounds = required().specifier
    assert version("uvicorn") in bounds
    assert f"{major}.{minor + 1}.0" not in bounds and "0.44.0" not in bounds


@pytest.mark.parametrize("name", sorted(OVERRIDDEN))
def test_uvicorn_has_what_we_override_with_the_same_parameters(name):
    theirs, ours = (inspect.signature(getattr(one, name)) for one in (HttpToolsProtocol, Connection))
    assert list(ours.parameters) == list(theirs.parameters)


def test_no_other_method_of_uvicorns_is_overridden_by_accident():
    ours = {name for name, value in vars(Connection).items() if inspect.isfunction(value) and name != "__init__"}
    assert ours & set(dir(HttpToolsProtocol)) == OVERRIDDEN


async def test_uvicorn_has_what_we_read():
    protocol = HttpToolsProtocol(Config(lambda: None, ws="none", log_config=None), ServerState(), {})
    read = {
        node.attr
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(Connection))))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    assert not [name for name in read if not hasattr(protocol, name) and not hasattr(Connection, name)]


def test_uvicorn_calls_what_we_override():
    """The parser calls `on_…`, and asyncio the others; the task of a request is started by uvicorn's own method."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(HttpToolsProtocol)))
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert {"_start_asgi_task", "send_400_response"} <= called
