"""What a server loads before it is ready."""

import json
import subprocess
import sys

SERVES = """
import sys
import agentcontainer_local.app, agentcontainer_local.sandbox.podman.backend
from agentcontainer_local.cli import serve
with serve.ending(True, output=serve.Lines) as out:
    out.line({name: name in sys.modules for name in sys.argv[1:]})
"""


def test_a_server_starts_without_what_only_later_work_needs():
    later = ("aiohttp", "apscheduler", "yaml", "podman", "requests", "httpx", "rich")
    said = subprocess.run([sys.executable, "-c", SERVES, *later], check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == dict.fromkeys(later, False)


def test_a_server_of_one_machine_loads_nothing_of_what_several_need():
    several = [f"agentcontainer_local.{name}" for name in ("node", "scheduler", "sandbox.placed")]
    said = subprocess.run([sys.executable, "-c", SERVES, *several], check=True, capture_output=True, text=True).stdout
    assert json.loads(said) == dict.fromkeys(several, False)
