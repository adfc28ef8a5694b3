"""Tests that hang, of each kind, in a session of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).parents[2]
HANGING = """
import asyncio, subprocess, threading, time
import pytest
from hypothesis import given, settings, strategies

@pytest.fixture(autouse=True)
def opened(request):
    child = subprocess.Popen(["sleep", "600"])
    yield
    child.kill()
    child.wait()
    print("closed", request.node.name)

@settings(max_examples=2, database=None)
@given(strategies.none())
def test_tries_an_example(nothing):
    time.sleep(600)

def test_sleeps():
    time.sleep(600)

def test_waits_for_a_child():
    subprocess.run(["sleep", "600"])

def test_waits_for_a_thread():
    threading.Thread(target=gone_astray, daemon=True).start()
    threading.Event().wait()

def gone_astray():
    time.sleep(600)

async def test_awaits():
    await asyncio.Event().wait()

async def test_awaits_a_thread():
    await asyncio.to_thread(time.sleep, 0.9)    # for which the loop waits while it closes

async def test_holds_the_loop_up():
    time.sleep(600)

async def test_hangs_in_the_background():
    task = asyncio.create_task(test_holds_the_loop_up())
    await asyncio.Event().wait()

@pytest.fixture
def never_closed():
    yield
    time.sleep(600)

def test_is_well_but_never_closed(never_closed):
    pass

def test_is_well():
    pass

@pytest.mark.timeout(2)
def test_has_more_time():
    time.sleep(1)
"""


@pytest.mark.slow
def test_who_hangs_fails_with_a_stack_and_closes_what_it_had_open_and_the_rest_goes_on(tmp_path: Path):
    (tmp_path / "test_hanging.py").write_text(HANGING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-c",
        CLONE / "pyproject.toml",
        "-s",
        f"--rootdir={tmp_path}",
        "-o",
        f"cache_dir={tmp_path}",
        "--timeout=0.5",
        tmp_path,
    ]
    ran = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=60)
    said = ran.stdout
    assert "8 failed, 3 passed, 1 error in" in said, said + ran.stderr
    assert said.count("TooLong: ") >= 9 and said.count(" takes longer than 0.5 s") >= 9
    assert "in gone_astray" in said and "await asyncio.Event().wait()" in said
    assert said.count("closed test_") == 11
