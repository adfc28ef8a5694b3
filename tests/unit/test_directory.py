"""Directories on the client's side: packed, and unpacked where an agent made the archive."""

import os
import tarfile
from pathlib import Path

import pytest

from agentcontainer_local.client import WrongUse, directory
from tests.guest.test_directories import TREE, archive, plant


def packed(folder: Path) -> bytes:
    size, pieces = directory.plan(folder)
    content = b"".join(pieces())
    assert len(content) == size
    return content


def test_what_is_packed_is_unpacked_beside_what_is_there(tmp_path: Path):
    plant(tmp_path / "src")
    (tmp_path / "a.tar").write_bytes(packed(tmp_path / "src"))
    made = [directory.unpack(tmp_path / "a.tar", tmp_path, name) for name in ("new", "src")]
    assert made == [tmp_path / "new", tmp_path / "src-2"]
    found = {str(f.relative_to(made[0])): f.read_bytes() for f in made[0].rglob("*") if f.is_file()}
    assert found == {**{name.replace("\n", "\ufffd"): TREE[name] for name in TREE}, "same": b"one"}
    assert not (made[0] / "same").is_symlink()
    assert os.access(made[0] / "run.sh", os.X_OK) and (made[0] / "nothing").is_dir()


@pytest.mark.parametrize("trap", ["out", "folder", "pipe"])
def test_what_is_no_file_is_refused_and_named(tmp_path: Path, trap: str):
    plant(tmp_path)
    place = tmp_path / "deep" / trap
    {
        "out": lambda: place.symlink_to("/etc/passwd"),
        "folder": lambda: place.symlink_to("er"),
        "pipe": lambda: os.mkfifo(place),
    }[trap]()
    with pytest.raises(WrongUse, match=f"deep/{trap}"):
        directory.plan(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        archive(("../out", b"x")),
        archive(("/out", b"x")),
        archive(("a/../../out", b"x")),
        archive(("link", "2/etc")),
        archive(("a", b"x"), ("b", "1a")),
        archive(("dev", "3")),
        archive(("pipe", "6")),
        archive(("a", b"x"), ("a", b"y")),
        archive(("a", b"x"), ("a/b", b"y")),
        archive(("a", b"x" * 5000))[:2000],
        b"no archive" * 100,
        pytest.param(None, id="20001 files"),  # made by the test: each process that runs tests reads this list
    ],
)
def test_an_archive_that_is_a_trap_leaves_nothing(tmp_path: Path, content: bytes | None):
    content = content or archive(*((f"f{n}", b"") for n in range(20_001)))
    (tmp_path / "in").mkdir()
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(WrongUse):
        directory.unpack(tmp_path / "a.tar", tmp_path / "in", "made")
    assert list((tmp_path / "in").iterdir()) == [] and not (tmp_path / "out").exists()


def test_names_with_control_characters_become_harmless(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(archive(("a\x1b[2Jb\nc", b"x")))
    made = directory.unpack(tmp_path / "a.tar", tmp_path, "made")
    assert [path.name for path in made.iterdir()] == ["a\ufffd[2Jb\ufffdc"]


def test_a_sparse_file_that_claims_terabytes_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("hole")
        member.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(2**42),
            "GNU.sparse.name": "hole",
        }
        made.addfile(member)
    with pytest.raises(WrongUse):
        directory.unpack(tmp_path / "a.tar", tmp_path, "made")
