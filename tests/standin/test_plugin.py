"""The plugin for pytest, in sessions of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import fake_provider

SCRIPTED = """
from agentcontainer_local.client import Client
from agentcontainer_local.testing import finish

def test_one(agentcontainer):
    agentcontainer.script(finish("One"))
    with Client(agentcontainer.url, agentcontainer.key) as client:
        assert client.run("Go.").result == "One"

def test_two(agentcontainer):
    assert not list(agentcontainer.client.list_tasks())
    assert agentcontainer.client.run("Go.").result == "Done"
"""


@pytest.fixture
def ran(tmp_path: Path):
    """A session over these tests."""

    def run(tests: str, *options: str, ini: str = "") -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_it.py").write_text(tests)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{ini}\n")
        command = [sys.executable, "-m", "pytest", "-p", "agentcontainer_local.pytest_plugin", "-W", "error"]
        return subprocess.run(
            [*command, *options, "-q", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    return run


def test_each_test_has_an_empty_server(ran):
    done = ran(SCRIPTED)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_processes_of_one_session_do_not_meet(ran):
    done = ran(SCRIPTED + SCRIPTED.replace("test_", "test_more_"), "-n", "2")
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


def test_a_script_that_does_not_fit_fails_its_test_and_no_other(ran):
    tests = """
from agentcontainer_local.testing import finish

def test_unfit(agentcontainer):
    agentcontainer.script(finish("Done", outputs={"summary": ("s.txt", b"1")}), name="report")
    done = agentcontainer.client.create_task("agt_standard_coding", instructions="Report.")
    assert agentcontainer.client.wait(done.id).status == "failed"

def test_after_it(agentcontainer):
    pass
"""
    done = ran(tests)
    assert "2 passed, 1 error" in done.stdout, done.stdout
    assert 'BadScript: script "report", step 1 (finish) was refused.' in done.stdout


def test_the_server_of_the_session_keeps_what_it_has(ran):
    tests = """
def test_one(agentcontainer_session, agentcontainer):
    agentcontainer_session.client.run("Once.")
    assert not list(agentcontainer.client.list_tasks())

def test_two(agentcontainer_session):
    assert [task.instructions for task in agentcontainer_session.client.list_tasks()] == ["Once."]
"""
    assert "2 passed" in ran(tests).stdout


def test_a_test_may_have_a_server_with_settings_of_its_own(ran):
    tests = """
import pytest

@pytest.mark.agentcontainer(billing="prepaid", credit=2)
def test_credit(agentcontainer):
    assert agentcontainer.client.get_account().credit_balance == 2
"""
    done = ran(tests, "--strict-markers")
    assert "1 passed" in done.stdout, done.stdout


def test_a_setting_without_its_name_is_refused(ran):
    tests = """
import pytest

@pytest.mark.agentcontainer("podman")
def test_podman(agentcontainer):
    pass
"""
    done = ran(tests)
    assert "1 error" in done.stdout and "settings by name" in done.stdout, done.stdout


def test_an_unknown_backend_is_told(ran):
    assert "--agentcontainer-backend" in ran("", "--agentcontainer-backend", "docker").stderr
    assert "Give simulated or podman" in ran("", ini="agentcontainer_backend = docker").stderr


def test_a_session_that_does_not_use_it_loads_nothing_of_it(ran):
    tests = """
import sys

def test_nothing():
    loaded = [name for name in sys.modules if name.startswith("agentcontainer_local.")]
    assert loaded == ["agentcontainer_local.pytest_plugin"]
"""
    done = ran(tests)
    assert "1 passed" in done.stdout, done.stdout


RECORDED = """
import pytest

@pytest.mark.agentcontainer(replay="recordings")
def test_six(agentcontainer):
    task = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
    assert agentcontainer.client.run("Add up.", **task).result == "Six"
"""


def test_a_recording_is_made_when_asked_for_and_then_replayed(ran, tmp_path, monkeypatch):
    with fake_provider.serving() as fake:
        for name, value in fake.environ().items():
            monkeypatch.setenv(name, value)
        for asked, which in ((1, "new"), (1, "new"), (2, "all")):
            fake.plan(fake_provider.bash('finish --complete-task --message "Six"'))
            done = ran(RECORDED, "--agentcontainer-record", which)
            assert done.returncode == 0 and len(fake.seen) == asked, done.stdout
    for name in fake.environ():
        monkeypatch.delenv(name)
    monkeypatch.chdir("/")
    done = ran(RECORDED)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    (tmp_path / "recordings").rename(tmp_path / "elsewhere")
    assert "There is no directory" in ran(RECORDED).stdout
