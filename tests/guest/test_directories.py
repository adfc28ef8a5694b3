"""Directories that an agent hands over or is given: as one archive of plain files and directories."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from .door import Door
from .lab import Lab
from .wire import Say

DONE = ("finish", "--complete-task", "--message", "Done")
TREE = {
    "a.txt": b"one",
    "deep/er/b.bin": b"x" * 300_000,
    "empty": b"",
    "deep/" + "n" * 120 + "/\u00e9 \n.txt": b"odd",
    "run.sh": b"#!/bin/sh\n",
    ".hidden": b"h",
}


def plant(root: Path) -> None:
    for name, content in TREE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "run.sh").chmod(0o755)
    (root / "nothing").mkdir()
    (root / "same").symlink_to("a.txt")


async def test_a_directory_is_handed_over_as_one_archive(lab: Lab, door: Door):
    plant(lab.workspace / "site")
    code, _, err = await lab.command(*DONE, "site/", "--output", "all=./site")
    assert code == 0, err
    [delivery] = door.accepted
    assert [(f["filename"], f["outputName"], f["directory"]) for f in delivery.begun["files"]] == [
        ("site.tar", None, True),
        ("site.tar", "all", True),
    ]
    with tarfile.open(fileobj=io.BytesIO(delivery.files[0])) as archive:
        found = {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}
        assert archive.getmember("nothing").isdir() and archive.getmember("run.sh").mode == 0o755
    assert found == {**TREE, "same": b"one"}
    assert delivery.files[0] == delivery.files[1]


@pytest.mark.parametrize("trap", ["out", "folder", "pipe", "secret"])
async def test_a_directory_with_anything_but_files_is_refused_and_the_entry_named(lab: Lab, door: Door, trap: str):
    plant(lab.workspace / "site")
    place = lab.workspace / "site" / "deep" / trap
    {
        "out": lambda: place.symlink_to("/etc/passwd"),
        "folder": lambda: place.symlink_to("er"),
        "pipe": lambda: os.mkfifo(place),
        "secret": lambda: (place.write_text("x"), place.chmod(0)),
    }[trap]()
    code, _, err = await lab.command(*DONE, "site")
    assert code == 1 and f'"deep/{trap}"' in err and not door.deliveries


def archive(*members: tuple[str, bytes | str], kind: int | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mode, member.type = 0o755, {None: tarfile.REGTYPE, "d": tarfile.DIRTYPE}.get(kind, tarfile.REGTYPE)
            if isinstance(content, str):
                member.type, member.linkname = content[:1].encode(), content[1:]
                made.addfile(member)
            else:
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
    return out.getvalue()


async def given(lab: Lab, door: Door, content: bytes) -> None:
    door.inputs["f"] = content
    door.answers = [Say("ok")]
    lab.launch()
    await lab.start()
    path = "task_files/src"
    door.prompt("Hi", inputs=[{"path": path, "url": "/guest/inputs/f", "sizeBytes": len(content), "directory": True}])


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_a_directory_that_is_given_lies_in_the_workspace(lab: Lab, door: Door, tmp_path: Path, form: int):
    plant(tmp_path / "src")
    (tmp_path / "src" / "same").unlink()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as made:
        made.add(tmp_path / "src", ".")
    await given(lab, door, out.getvalue())
    await door.heard("settled")
    root = lab.workspace / "task_files" / "src"
    assert {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()} == TREE
    assert (root / "nothing").is_dir() and os.access(root / "run.sh", os.X_OK)
    assert not (lab.workspace / ".arriving").exists()


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
        b"x" * 512,
        pytest.param(None, id="20001 files"),  # made by the test: each process that runs tests reads this list
    ],
)
async def test_an_archive_that_is_a_trap_is_refused(lab: Lab, door: Door, content: bytes | None):
    await given(lab, door, content or archive(*((f"f{n}", b"") for n in range(20_001))))
    refused = await door.heard("refused")
    assert "task_files/src" in refused["message"]
    assert not (lab.workspace / "task_files" / "src").exists() and not (lab.workspace / "out").exists()
