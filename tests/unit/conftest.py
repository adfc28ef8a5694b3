"""What several unit tests start from: the account's own runtime."""

import os
import shutil
from pathlib import Path

import pytest

from agentcontainer_local.pi import bundle
from agentcontainer_local.settings import Settings

NEEDS_PODMAN = pytest.mark.skipif(
    os.geteuid() != 0 and not shutil.which("podman"), reason="podman, whose unshare this needs, is not installed"
)


@pytest.fixture(scope="module")
def made() -> Path:
    """The runtime, made if it is not there yet."""
    return bundle.prepare(Settings().cache, lambda step: None)
