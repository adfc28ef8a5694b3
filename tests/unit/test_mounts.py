"""A disk that is not mounted is told from a directory that was deleted."""

import subprocess
import sys
from pathlib import Path

import pytest

from agentcontainer_local.process import mounts
from agentcontainer_local.process.mounts import Mount


def test_the_mount_of_a_path_is_the_nearest_one_and_the_last_at_its_point(tmp_path: Path, monkeypatch):
    (listed := tmp_path / "mountinfo").write_text(
        "25 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 25 8:17 / /mnt/a\\040disk rw shared:1 - ext4 /dev/sdb1 rw\n"
        "31 30 0:40 /@data /mnt/a\\040disk rw shared:2 - btrfs /dev/sdc1 rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", listed)
    found = mounts.of(Path("/mnt/a disk/of/mine"))
    assert (found.point, found.root, found.kind) == ("/mnt/a disk", "/@data", "btrfs")
    assert mounts.of(Path("/mnt/a disks/of/mine")).point == "/"
    assert Mount.parsed(found.text()) == found


@pytest.mark.parametrize(("now", "reachable"), [
    (Mount("/mnt", "/", "ext4", "a1"), True),
    (Mount("/", "/", "ext4", "b2"), False),  # not mounted
    (Mount("/mnt", "/", "ext4", "c3"), False),  # another disk
    (Mount("/mnt", "/private/mnt", "ext4", "a1"), False),  # another folder of it
])  # fmt: skip
def test_a_path_can_be_looked_at_while_its_own_file_system_is_mounted(now: Mount, reachable: bool):
    assert (mounts.why_out_of_reach(Mount("/mnt", "/", "ext4", "a1"), now) is None) == reachable


def test_what_was_in_memory_is_gone_with_its_file_system():
    then, now = Mount("/tmp", "/", "tmpfs", "1"), Mount("/tmp", "/", "tmpfs", "2")
    assert mounts.why_out_of_reach(then, now) is None


UNMOUNTING = """
import os, subprocess, sys
from pathlib import Path
from agentcontainer_local.process import account_registry
from agentcontainer_local.store import db, identity
folder = Path(sys.argv[1])
account_registry.home = lambda: folder / "home"
subprocess.run(["mount", "-t", "tmpfs", "disk", folder / "disk"], check=True)
(data := folder / "disk" / "data").mkdir()
store = db.open(data / "agentcontainer.db")
store.conn.execute("INSERT INTO store VALUES ('str_a', 'now')")
store.close()
identity.claim("str_a", data)
print(identity.whereabouts("str_a").presence.value)
os.chdir("/")
subprocess.run(["umount", folder / "disk"], check=True)
print(identity.whereabouts("str_a").presence.value, identity.whereabouts("str_a").why)
"""


@pytest.mark.podman
def test_a_store_on_a_disk_that_was_unmounted_is_not_deleted(tmp_path: Path):
    for name in ("home", "disk"):
        (tmp_path / name).mkdir()
    script = [sys.executable, "-c", UNMOUNTING, tmp_path]
    done = subprocess.run(["podman", "unshare", "unshare", "-m", *script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["there", f"unreachable no file system is mounted at {tmp_path}/disk"], done
