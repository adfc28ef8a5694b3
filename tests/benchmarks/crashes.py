"""With --long: the server dies at every named point, and all must be in order afterwards."""

import os
import subprocess
import sys
import time

from tests.benchmarks.figures import Figure


def run(long: bool) -> list[Figure]:
    if not long:
        return []
    began = time.monotonic()
    environ = {**os.environ, "AGENTCONTAINER_EVERY_CRASH": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/system/test_crashes.py"]
    done = subprocess.run(command, env=environ, stdout=sys.stderr)
    if done.returncode != 0:
        raise SystemExit("bench: a crash left something behind")
    return [Figure("the server killed at every point", [time.monotonic() - began], "s", "all in order")]
