"""Where the server's sockets lie, on a machine that others use too."""

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcontainer_local.process import runtime_directory
from agentcontainer_local.sandbox.podman import sockets
from agentcontainer_local.store import db


@pytest.fixture
def shared(monkeypatch, tmp_path) -> Iterator[Path]:  # tmp_path: which pytest makes in the real one
    """Everybody's folder for temporary files, and no session."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_without_a_session_it_is_ours_alone_whatever_the_umask(shared: Path):
    before = os.umask(0)
    try:
        directory = runtime_directory.of_store("str_test")
    finally:
        os.umask(before)
    made = [part for part in (directory, *directory.parents) if shared in part.parents]
    assert [stat.S_IMODE(part.stat().st_mode) for part in made] == [0o700] * 3
    assert runtime_directory.of_store("str_test") == directory


def test_a_link_that_somebody_put_there_before_is_not_followed(shared: Path, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (shared / f"agentcontainer-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(RuntimeError, match="belongs to another account"):
        runtime_directory.of_store("str_test")
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_somebody_else_owns_is_refused(shared: Path, monkeypatch):
    runtime_directory.of_store("str_test")
    real = os.getuid()
    (shared / f"agentcontainer-{real}").rename(shared / f"agentcontainer-{real + 1}")
    monkeypatch.setattr(os, "getuid", lambda: real + 1)  # we are not who made it
    with pytest.raises(RuntimeError, match="belongs to another account"):
        runtime_directory.of_store("str_test")


@pytest.mark.parametrize("length", [20, 34, 35, 40, 56, 66, 100])
def test_every_socket_has_a_path_that_is_short_enough_whatever_the_session_has(shared: Path, monkeypatch, length: int):
    session = str(shared).ljust(length - 1, "/").ljust(length, "x")
    monkeypatch.setenv("XDG_RUNTIME_DIR", session)
    directory = runtime_directory.of_store(db.new_id("str"))
    for name in (sockets.HOST, sockets.EGRESS):
        assert len(os.fsencode(directory / "runs" / db.new_id("tsk") / name)) <= 107
    assert len(os.fsencode(directory / "gvisor" / "podman.sock")) <= 107
    assert (length > 34) != directory.is_relative_to(session)
    with runtime_directory.for_a_while() as folder:
        assert len(os.fsencode(Path(folder, "gvisor", "podman.sock"))) <= 107


def test_a_long_folder_for_temporary_files_is_not_used(shared: Path, monkeypatch):
    (long := shared / ("x" * 60)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert runtime_directory.of_store("str_test").is_relative_to(f"/tmp/agentcontainer-{os.getuid()}")


def test_a_store_keeps_its_sockets_where_its_data_directory_is_moved_to(shared: Path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    assert (
        runtime_directory.of_store("str_a")
        == runtime_directory.of_store("str_a")
        != runtime_directory.of_store("str_b")
    )


def test_containers_of_an_earlier_version_find_their_directory_at_the_path_that_they_mount(shared: Path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    data = shared / "data"
    old = shared / "agentcontainer" / hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]
    (old / "runs/tsk_1").mkdir(parents=True)
    for _ in range(2):
        runtime_directory.inherit("str_a", data)
        assert (runtime_directory.of_store("str_a") / "runs/tsk_1").samefile(old / "runs/tsk_1")
    shutil.rmtree(shared / "agentcontainer")  # a reboot
    runtime_directory.inherit("str_a", data)
    assert runtime_directory.of_store("str_a").samefile(old)


def test_who_serves_under_systemd_without_linger_is_warned(monkeypatch, tmp_path: Path):
    name = pwd.getpwuid(os.getuid()).pw_name
    systemd, lingering = tmp_path / "systemd", tmp_path / "linger"
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    assert runtime_directory.removed_at_logout(systemd, lingering) is None
    systemd.mkdir()
    assert f"loginctl enable-linger {name}" in runtime_directory.removed_at_logout(systemd, lingering)
    lingering.mkdir()
    (lingering / name).touch()
    assert runtime_directory.removed_at_logout(systemd, lingering) is None
    (lingering / name).unlink()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # no session's
    assert runtime_directory.removed_at_logout(systemd, lingering) is None


def test_a_directory_that_is_made_again_is_ours_alone_or_refused(shared: Path):
    directory = runtime_directory.of_store("str_test")
    shutil.rmtree(directory.parent.parent)
    runtime_directory.make(directory)
    made = [part for part in (directory, *directory.parents) if shared in part.parents]
    assert [stat.S_IMODE(part.stat().st_mode) for part in made] == [0o700] * 3
    shutil.rmtree(directory.parent.parent)
    directory.parent.parent.symlink_to(shared)
    with pytest.raises(RuntimeError):
        runtime_directory.make(directory)
