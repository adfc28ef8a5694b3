"""Two servers of one account, each with a data directory of its own: their agents do not meet."""

import re
from pathlib import Path

from agentcontainer_local import account_registry
from tests.system.conftest import serving, wait_until
from tests.system.test_main_job import bash


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
