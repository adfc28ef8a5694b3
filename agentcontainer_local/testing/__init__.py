"""A server for test suites: its own port, an empty store, agents that do what a script says, and no model costs.

    from agentcontainer_local.testing import finish, server, tool

    with server() as ac:
        ac.script(tool("pytest -q", output="3 passed"), finish("All green", files={"report.txt": b"3 passed"}))
        done = ac.client.run("Run the tests.", output="out")
        assert done.result == "All green"

With pytest, the fixture `agentcontainer` is such a server, empty for each test.
"""

from agentcontainer_local.testing.scripts import BadScript
from agentcontainer_local.testing.server import Server, server
from agentcontainer_local.testing.steps import (
    Step,
    attach,
    die,
    fail,
    finish,
    hibernate,
    say,
    tool,
    wait,
)

__all__ = [
    "BadScript",
    "Server",
    "Step",
    "attach",
    "die",
    "fail",
    "finish",
    "hibernate",
    "say",
    "server",
    "tool",
    "wait",
]
