"""Failpoints: named places where a test can kill the process, to check recovery. Also simulated full disks."""

import os
from pathlib import Path

from agentcontainer_local.environment import CRASH_AT

AT = os.environ.get(CRASH_AT)
EXIT_CODE = 86
FULL_DISKS: set[Path] = set()  # data directories whose disk counts as full


def point(name: str) -> None:
    """Ends the process immediately, without any cleanup, if the environment names this point."""
    if name == AT:
        os._exit(EXIT_CODE)
