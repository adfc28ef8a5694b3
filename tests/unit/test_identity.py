"""Which data directory is which store's: a copy is told from a directory that was moved."""

import os
import shutil
from pathlib import Path

import pytest

from agentcontainer_local.process import account_registry
from agentcontainer_local.store import db, identity
from agentcontainer_local.store.identity import Presence


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(account_registry, "home", lambda: tmp_path / "home")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (folder := tmp_path / "data").mkdir()
    store = db.open(folder / "agentcontainer.db")
    store.conn.execute("INSERT INTO store VALUES ('str_a', 'now')")
    store.close()
    identity.claim("str_a", folder)
    return folder


def test_a_directory_may_be_served_again_and_by_another_path(data: Path, tmp_path: Path):
    identity.claim("str_a", data)
    (link := tmp_path / "link").symlink_to(data)
    identity.claim("str_a", link)


def test_a_copy_is_refused_while_the_original_is_there_and_takes_its_place_after(data: Path, tmp_path: Path):
    copy = shutil.copytree(data, tmp_path / "copy")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="copy"):
            identity.claim("str_a", copy)
    moved = data.rename(tmp_path / "moved")
    identity.claim("str_a", moved)
    with pytest.raises(RuntimeError):
        identity.claim("str_a", copy)
    shutil.rmtree(moved)
    identity.claim("str_a", copy)
    assert identity.data_directories() == [copy]


def test_an_original_that_cannot_be_read_is_an_original_still(data: Path, tmp_path: Path):
    copy = shutil.copytree(data, tmp_path / "copy")
    (data / "agentcontainer.db").write_bytes(b"\xa5" * 8192)
    with pytest.raises(RuntimeError):
        identity.claim("str_a", copy)


def test_another_store_at_the_original_place_is_no_original(data: Path, tmp_path: Path):
    moved = data.rename(tmp_path / "moved")
    data.mkdir()
    store = db.open(data / "agentcontainer.db")
    store.conn.execute("INSERT INTO store VALUES ('str_b', 'now')")
    store.close()
    identity.claim("str_a", moved)
    identity.claim("str_b", data)
    assert sorted(identity.data_directories()) == [data, moved]


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch):
    (closed := tmp_path / "closed").mkdir(0o500)
    monkeypatch.setattr(account_registry, "home", lambda: closed)
    with pytest.raises(RuntimeError, match="closed"):
        identity.claim("str_a", tmp_path)


# Where a store is


def test_a_store_is_deleted_once_its_directory_is_gone_or_another_ones(data: Path):
    assert identity.whereabouts("str_a").presence is Presence.THERE
    shutil.rmtree(data)
    where = identity.whereabouts("str_a")
    assert (where.presence, where.data) == (Presence.DELETED, data)
    data.mkdir()
    store = db.open(data / "agentcontainer.db")
    store.conn.execute("INSERT INTO store VALUES ('str_b', 'now')")
    store.close()
    assert identity.whereabouts("str_a").presence is Presence.DELETED


def test_a_store_that_cannot_be_read_or_looked_at_is_not_deleted(data: Path, tmp_path: Path):
    (data / "agentcontainer.db").write_bytes(b"\xa5" * 8192)
    assert identity.whereabouts("str_a").presence is Presence.THERE
    data.chmod(0)
    try:
        assert identity.whereabouts("str_a").presence is Presence.UNREACHABLE
    finally:
        data.chmod(0o700)


def test_a_store_without_a_note_of_its_disk_is_not_deleted(data: Path):
    shutil.rmtree(data)
    account_registry.of_account("disks").remove("str_a")  # as an earlier version left it
    assert identity.whereabouts("str_a").presence is Presence.UNKNOWN
    assert identity.whereabouts("str_b").presence is Presence.UNKNOWN


def test_the_path_of_a_deleted_store_is_known_for_a_month(data: Path, tmp_path: Path):
    def swept() -> list[str]:
        os.utime(account_registry.of_account("stores").folder / "lock", (0, 0))
        identity.claim("str_z", tmp_path)
        return identity.known()

    shutil.rmtree(data)
    assert "str_a" in swept()
    os.utime(account_registry.of_account("stores").folder / "str_a", (0, 0), follow_symlinks=False)
    assert "str_a" not in swept()
    assert account_registry.of_account("disks").value("str_a") is None
