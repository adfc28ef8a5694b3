"""With --long: the server dies at every named point, and is away for ten minutes; all must be in order afterwards."""

import os
import subprocess
import sys
import time

from tests.benchmarks.figures import Figure


def run(long: bool) -> list[Figure]:
    if not long:
        return []
    began = time.monotonic()
    environ = {**os.environ, "AGENTCONTAINER_EVERY_CRASH": "1", "AGENTCONTAINER_OUTAGE_SECONDS": "600"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "dies_at_a_point or outage",
        "tests/system/test_crashes.py",
        "tests/system/test_restarts.py",
    ]
    done = subprocess.run(command, env=environ, stdout=sys.stderr)
    if done.returncode != 0:
        raise SystemExit("bench: a crash left something behind")
    return [Figure("killed at every point, and away for ten minutes", [time.monotonic() - began], "s", "all in order")]
