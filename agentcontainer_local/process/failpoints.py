"""Failpoints: named places where a test can kill the process, to check that the next server recovers."""

import os

from agentcontainer_local.environment import CRASH_AT

AT = os.environ.get(CRASH_AT)
EXIT_CODE = 86


def point(name: str) -> None:
    """Ends the process here and now, without any clean-up, if the environment names this point."""
    if name == AT:
        os._exit(EXIT_CODE)
