"""Quotas where an agent meets them: what it hands over, and what is kept of it while it sleeps."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import Server, serving, wait_until
from tests.system.test_main_job import bash

pytestmark = pytest.mark.podman

MB = 1024**2


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Iterator[Server]:
    settings = {"AGENTCONTAINER_FILE_QUOTA_BYTES": "1000", "AGENTCONTAINER_CHECKPOINT_QUOTA_BYTES": str(MB)}
    with serving(tmp_path_factory.mktemp("strict") / "data", **settings) as running:
        yield running


def test_an_agent_hands_over_no_more_than_the_account_may_have(strict: Server):
    task = strict.run(
        bash(
            "head -c 2000 /dev/zero > large; head -c 500 /dev/zero > small;"
            " finish --complete-task --message all large small || echo refused",
            finish="--complete-task --message less small",
        )
    )
    assert (task["status"], task["result"]) == ("finished", "less")
    assert "quota of 1000 bytes" in strict.said(task["id"])
    assert strict.get("/account")["fileStorage"] == {"usedBytes": 500, "quotaBytes": 1000, "isEnforced": True}


def test_what_is_kept_is_measured_and_over_the_quota_nobody_else_sleeps(strict: Server):
    asleep = strict.dispatch(bash("head -c 5M /dev/urandom > large; hibernate --for 1h"))
    strict.wait(asleep["id"], "hibernating")
    wait_until(lambda: strict.get("/account")["checkpointStorage"]["usedBytes"] >= 5 * MB, 20)
    awake = strict.run(bash("hibernate --for 1h || echo refused"))
    assert awake["status"] == "finished"
    assert f"their quota is {MB}" in strict.said(awake["id"])
    strict.post(f"/tasks/{asleep['id']}/cancel", expect=200)
    wait_until(lambda: strict.get("/account")["checkpointStorage"]["usedBytes"] == 0, 20)
