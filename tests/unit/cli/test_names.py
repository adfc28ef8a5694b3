"""Names in the place of ids: wherever a name is unique."""

import json

import pytest

from agentcontainer_local.cli.exits import Exit
from tests.unit.cli.acts import dispatched, end


@pytest.fixture
def mine(cli) -> str:
    return json.loads(cli("agents", "create", "Mine", "-m", "scripted", "--json").stdout)["id"]


def test_an_agent_goes_by_its_name_everywhere(cli, live, mine, tmp_path):
    (tmp_path / "ref.txt").write_text("r")
    for name in ("Mine", "mine"):
        assert json.loads(cli("agents", "show", name, "--json").stdout)["id"] == mine
    cli("agents", "update", "mine", "--max-runtime", "60")
    cli("agents", "attach", "mine", "ref.txt")
    assert "ref.txt" in cli("agents", "files", "mine").stdout
    cli("agents", "detach", "mine", "ref.txt")
    id = cli("run", "Look.", "-a", "mine", "--detach").stdout.strip()
    assert [task["id"] for task in json.loads(cli("tasks", "list", "--agent", "Mine", "--json").stdout)] == [id]
    assert cli("agents", "archive", "mine").stdout.startswith(mine)


def test_containers_keys_and_tasks_go_by_their_names_too(cli, live):
    made = json.loads(cli("containers", "create", "box", "--image", "localhost/mine:1", "--json").stdout)["id"]
    assert json.loads(cli("containers", "show", "box", "--json").stdout)["id"] == made
    agent = json.loads(cli("agents", "create", "a", "-m", "scripted", "--container", "box", "--json").stdout)
    assert agent["currentVersion"]["containerVersionId"]
    cli("keys", "create", "phone")
    cli("keys", "revoke", "phone")
    id = dispatched(cli, "--title", "Sales of March")
    end(live, id)
    assert json.loads(cli("tasks", "show", "Sales of March", "--json").stdout)["id"] == id


def test_a_name_that_is_none_or_not_unique_is_said_to_be_so(cli, mine):
    other = json.loads(cli("agents", "create", "Mine", "-m", "scripted", "--json").stdout)["id"]
    said = cli("agents", "show", "Mine", code=Exit.WRONG_USE).stderr
    assert mine in said and other in said
    assert "agents list" in cli("run", "Look.", "-a", "nobody", "--detach", code=Exit.NOT_FOUND).stderr
    cli("agents", "show", "agt_nobody", code=Exit.NOT_FOUND)
    cli("tasks", "show", "last", code=Exit.NOT_FOUND)


def test_the_address_may_end_in_the_apis_path(cli, live, monkeypatch):
    for ending in ("/api/v1", "/api/v1/", "/"):
        monkeypatch.setenv("AGENTCONTAINER_URL", live.url + ending)
        assert live.url + "\n" in cli("account").stdout
        cli("account", "--url", live.url + ending)
