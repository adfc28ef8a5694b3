"""Where the server's sockets lie, on a machine that others use too."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from agentcontainer_local.app import _runtime_dir


@pytest.fixture
def shared(tmp_path: Path, monkeypatch) -> Path:
    """Everybody's folder for temporary files, and no session."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_session_it_is_ours_alone_whatever_the_umask(shared: Path):
    before = os.umask(0)
    try:
        directory = _runtime_dir(Path("/data"))
    finally:
        os.umask(before)
    made = [part for part in (directory, *directory.parents) if shared in part.parents]
    assert [stat.S_IMODE(part.stat().st_mode) for part in made] == [0o700] * 3
    assert _runtime_dir(Path("/data")) == directory


def test_a_link_that_somebody_put_there_before_is_not_followed(shared: Path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (shared / f"agentcontainer-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(RuntimeError, match="belongs to somebody else"):
        _runtime_dir(Path("/data"))
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_somebody_else_owns_is_refused(shared: Path, monkeypatch):
    _runtime_dir(Path("/data"))
    real = os.getuid()
    (shared / f"agentcontainer-{real}").rename(shared / f"agentcontainer-{real + 1}")
    monkeypatch.setattr(os, "getuid", lambda: real + 1)        # we are not who made it
    with pytest.raises(RuntimeError, match="belongs to somebody else"):
        _runtime_dir(Path("/data"))
