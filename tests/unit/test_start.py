"""What a server loads before it is ready."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["aiohttp", "apscheduler", "yaml", "requests", "httpx", "rich"])
def test_a_server_starts_without_what_only_later_work_needs(library: str):
    code = f"import sys, agentcontainer_local.cli, agentcontainer_local.app; print({library!r} in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "False\n"
