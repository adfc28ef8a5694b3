"""Schemathesis reads the OpenAPI document of a running server and looks for answers that it does not describe."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import KEY

# Rules between fields, and ids that must exist, are not in a schema; what is archived is still answered.
NOT_OURS = "positive_data_acceptance,use_after_free"
SECONDS = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.api_server", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/api/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_no_answer_is_other_than_the_document_says(server, tmp_path):
    program = Path(sys.executable).with_name("st")
    if not program.exists():
        pytest.skip("schemathesis is not installed beside this Python")
    run = subprocess.run(
        [program, "run", f"{server}/openapi.yaml", "-H", f"Authorization: Bearer {KEY}", "--no-color",
         "--exclude-checks", NOT_OURS, "--exclude-path-regex", "/events$", "--max-time", str(SECONDS),
         "--max-examples", "10", "--generation-deterministic", "--warnings", "off"],
        cwd=tmp_path, capture_output=True, text=True, timeout=5 * SECONDS, check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
