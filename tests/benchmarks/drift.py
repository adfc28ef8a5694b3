"""Schemathesis for a quarter of an hour (with --long), where the tests give it two minutes: faults that it finds."""

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.unit.test_api_drift import search, serving

SECONDS, EXAMPLES = 900, 500


def run(long: bool) -> list[Figure]:
    if not long:
        return []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        found = search(server, Path(folder), SECONDS, EXAMPLES)
    if found.returncode:
        print(found.stdout[-20_000:], found.stderr, file=sys.stderr)
    return [Figure("runs in which an answer was other than the document says", [float(found.returncode != 0)], "", "0")]
