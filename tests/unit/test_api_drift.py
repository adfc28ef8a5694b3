"""Schemathesis reads the OpenAPI document of a running server and looks for answers that it does not describe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import KEY

# Rules between fields, and ids that must exist, are not in a schema; what is archived is still answered.
NOT_OURS = "positive_data_acceptance,use_after_free"
WITHOUT = "/events$|/workspace"  # streams; and what Podman keeps, which the server of this test does not have
SECONDS = 100


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.api_server", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/api/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def search(server: str, folder: Path, seconds: int, examples: int, *more: str) -> subprocess.CompletedProcess:
    """Single requests and chains of them, each operation with so many, for at most so long."""
    program = Path(sys.executable).with_name("st")
    # Parameters that nobody knows are passed over, as by most servers; only some of these cases would say so.
    (folder / "schemathesis.toml").write_text("[generation]\nallow-extra-parameters = false\n")
    return subprocess.run(
        [
            program,
            "run",
            f"{server}/openapi.yaml",
            "-H",
            f"Authorization: Bearer {KEY}",
            "--no-color",
            "--exclude-checks",
            NOT_OURS,
            "--exclude-path-regex",
            WITHOUT,
            "--max-time",
            str(seconds),
            "--max-examples",
            str(examples),
            "--warnings",
            "off",
            *more,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.drift_hooks"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=4 * seconds,
        check=False,
    )


@pytest.mark.slow
def test_no_answer_is_other_than_the_document_says(tmp_path):
    with serving(tmp_path) as server:
        run = search(server, tmp_path, SECONDS, 6, "--generation-deterministic")
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
