"""What several servers and several versions of one account share: their agents, containers and volumes do not meet."""

import re
from pathlib import Path

import pytest

from agentcontainer_local.process import account_registry
from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman


def test_agents_of_two_servers_have_different_uids_also_while_they_sleep(own_server, tmp_path: Path):
    with serving(tmp_path / "other") as other:
        servers = (own_server, other)
        asleep = [server.dispatch(bash("id -u", "hibernate --for 1h")) for server in servers]
        uids = []
        for server, task in zip(servers, asleep, strict=True):
            server.wait(task["id"], "hibernating")
            uids.append(int(re.search(r"^(\d{5})$", server.said(task["id"]), re.M)[1]))
        assert len(set(uids)) == 2
        third = other.run(bash("id -u", finish="--complete-task --message Done"))
        assert int(re.search(r"^(\d{5})$", other.said(third["id"]), re.M)[1]) not in uids
        names = [account_registry.of_account("uids").folder / str(uid) for uid in uids]
        assert all(name.is_symlink() for name in names)
        for server, task in zip(servers, asleep, strict=True):
            server.post(f"/tasks/{task['id']}/cancel", expect=200)
        wait_until(lambda: not any(name.is_symlink() for name in names), 30)


def test_a_task_that_an_earlier_version_began_goes_on_under_its_old_names(own_server: Server):
    own_server.stop()
    own_server.settings["AGENTCONTAINER_MAX_RUNNING"] = "0"
    own_server.start()
    task = own_server.dispatch(
        bash("echo one > log", "hibernate --for 1h", "cat log; echo '!'", finish="--complete-task --message Done")
    )
    slot = f"agentcontainer-{task['id']}"
    own_server.execute("INSERT INTO slots (task_id, id, name) VALUES (?, ?, ?)", task["id"], task["id"], slot)
    del own_server.settings["AGENTCONTAINER_MAX_RUNNING"]
    own_server.stop()
    own_server.start()
    own_server.wait(task["id"], "hibernating")
    assert own_server.things() == {slot, f"{slot}-work", f"{slot}-state"}
    own_server.post(f"/tasks/{task['id']}/wake", {"kind": "external_wake"}, 200)
    assert own_server.wait(task["id"])["status"] == "finished" and "one\n!" in own_server.said(task["id"])
    wait_until(lambda: not own_server.things(), 30)
