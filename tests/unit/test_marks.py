"""The marks of tests, in a session of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
FAILS_ONCE = """
import pytest
from pathlib import Path

{mark}
def test_fails_at_first():
    tried = Path(__file__).with_suffix(".tried")
    if not tried.exists():
        tried.touch()
        raise AssertionError("the first time")
"""


def ran(folder: Path, mark: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_once.py").write_text(FAILS_ONCE.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", CLONE / "pyproject.toml"]
    own = [f"--rootdir={folder}", "-o", f"cache_dir={folder}", folder]
    return subprocess.run([*command, *own], cwd=CLONE, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_a_test_that_may_be_retried_is_run_once_more_and_listed(tmp_path: Path):
    done = ran(tmp_path, '@pytest.mark.retried("it watches a clock")')
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 rerun in" in done.stdout and "RERUN test_once.py::test_fails_at_first" in done.stdout


@pytest.mark.slow
def test_no_other_test_is_run_twice(tmp_path: Path):
    assert ran(tmp_path, "").returncode == 1


@pytest.mark.slow
def test_a_test_that_may_be_retried_says_why(tmp_path: Path):
    done = ran(tmp_path, "@pytest.mark.retried")
    assert done.returncode != 0 and "say why" in done.stdout + done.stderr


def test_a_test_has_the_name_of_its_folder_as_a_mark(request):
    assert request.node.get_closest_marker("unit") and not request.node.get_closest_marker("system")
