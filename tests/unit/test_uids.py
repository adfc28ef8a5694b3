"""The registry of agents' uids: one for the whole account, whichever of its servers asks, and whatever is killed."""

import threading
from pathlib import Path

import pytest

from agentcontainer_local.process import account_registry
from agentcontainer_local.process.account_registry import Registry
from agentcontainer_local.sandbox.podman import uids as module
from agentcontainer_local.sandbox.podman.uids import COUNT, FIRST, NoneFree, Uids
from agentcontainer_local.store import db, tasks


@pytest.fixture
def uids(tmp_path: Path) -> Uids:
    return Uids(Registry(tmp_path / "uids"))


def test_each_task_of_each_store_has_a_uid_of_its_own_and_keeps_it(uids: Uids):
    owners = [f"str_{store}.tsk_{task}" for store in range(10) for task in range(30)]
    claimed = {owner: uids.claim(owner) for owner in owners}
    assert len(set(claimed.values())) == 300
    assert all(FIRST <= uid < FIRST + COUNT for uid in claimed.values())
    assert {owner: Uids(uids.registry).claim(owner) for owner in owners} == claimed


def test_servers_that_claim_at_the_same_time_get_different_uids(uids: Uids):
    got: list[int] = []

    def claim(store: int) -> None:
        got.extend(Uids(uids.registry).claim(f"str_{store}.tsk_{n}", FIRST + n) for n in range(100))

    at_once = [threading.Thread(target=claim, args=(store,)) for store in range(4)]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    assert len(set(got)) == 400


def test_a_released_uid_is_free_again_and_only_its_owner_can_release_it(uids: Uids):
    uid = uids.claim("str_a.tsk_a")
    uids.release("str_b.tsk_b", uid)
    assert uids.claim("str_b.tsk_b", uid) != uid
    uids.release("str_a.tsk_a", uid)
    assert uids.claim("str_c.tsk_c", uid) == uid


def test_a_sweep_removes_old_claims_without_volumes_and_keeps_the_others(uids: Uids, monkeypatch, tmp_path):
    kept, gone = uids.claim("str_a.tsk_kept"), uids.claim("str_a.tsk_gone")
    elsewhere = tmp_path / "home"
    elsewhere.mkdir()
    with monkeypatch.context() as other_storage:
        other_storage.setenv("HOME", str(elsewhere))
        foreign = uids.claim("str_b.tsk_foreign")
    uids.sweep({"str_a.tsk_kept"})  # too fresh: its volumes may be on their way
    assert uids.claim("str_z.tsk_z", gone) != gone
    uids.sweep({"str_a.tsk_kept"}, seconds=-1)
    taken = {int(link.name) for link in uids.registry.folder.iterdir() if link.name != "lock"}
    assert taken == {kept, foreign}
    elsewhere.rmdir()
    uids.sweep({"str_a.tsk_kept"}, seconds=-1)
    assert uids.claim("str_c.tsk_c", foreign) == foreign


def test_when_every_uid_is_in_use_the_error_says_so(uids: Uids, monkeypatch):
    monkeypatch.setattr(module, "COUNT", 3)
    for n in range(3):
        uids.claim(f"str_a.tsk_{n}")
    with pytest.raises(NoneFree):
        uids.claim("str_a.tsk_more")
    uids.sweep(set(), seconds=-1)
    assert uids.claim("str_a.tsk_more")


def test_a_store_holds_the_uids_of_its_tasks_again_when_the_registry_was_lost(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(account_registry, "home", lambda: tmp_path)
    store = db.open(tmp_path / "agentcontainer.db")
    store.conn.execute("PRAGMA foreign_keys=OFF")
    store.conn.execute("INSERT INTO slots VALUES ('tsk_1', 'tsk_1', 'agentcontainer-str_a-tsk_1', 20500)")
    module.hold(tasks.Remembered(store), "str_a")
    assert Uids().claim("str_b.tsk_1", 20500) != 20500
    store.close()
