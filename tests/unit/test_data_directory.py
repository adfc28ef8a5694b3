"""The data directory on disk: who can read it."""

import os
import stat
from pathlib import Path

import pytest

from agentcontainer_local.store import db, lock


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.fixture
def generous():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_data_directory_is_closed_to_other_accounts(tmp_path: Path, generous):
    data = tmp_path / "data"
    data.mkdir()
    with lock.held(data):
        store = db.open(data / "agentcontainer.db")
        db.lengthen_log(store)
        found = modes(data)
        store.close()
    assert {"agentcontainer.db", "agentcontainer.db-wal", "agentcontainer.db-shm", "lock"} < set(found)
    assert found.pop(".") == 0o700 and set(found.values()) == {0o600}


def test_an_open_data_directory_is_closed_at_the_next_start(tmp_path: Path, generous):
    data = tmp_path / "data"
    for folder in ("files", "files/incoming"):
        (data / folder).mkdir(parents=True)
    for name in ("lock", "secret.key", "agentcontainer.db", "agentcontainer.db-wal", "files/a", "files/incoming/b"):
        (data / name).write_text("")
    (outside := tmp_path / "outside").write_text("")
    (data / "files/link").symlink_to(outside)
    with lock.held(data):
        found = modes(data)
    folders = {".", "files", "files/incoming"}
    assert {mode for name, mode in found.items() if name in folders} == {0o700}
    assert {mode for name, mode in found.items() if name not in folders} == {0o600}
    assert stat.S_IMODE(outside.stat().st_mode) == 0o666
