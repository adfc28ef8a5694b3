"""Locks between processes, which end with whoever holds them."""

import subprocess
import sys
from pathlib import Path

from agentcontainer_local.process import file_lock

HOLDER = (
    "import sys; from pathlib import Path; from agentcontainer_local.process import file_lock\n"
    "with file_lock.held(Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_a_lock_keeps_others_out_until_its_holder_is_killed(tmp_path: Path):
    path = tmp_path / "made" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with path.open("a") as file:
            assert not file_lock.try_take(file)
            assert not file_lock.try_take(file, shared=True)
            holder.kill()
            holder.wait()
            assert file_lock.try_take(file)


def test_looking_at_a_free_lock_leaves_it_to_others_who_look(tmp_path: Path):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        assert file_lock.try_take(one, shared=True)
        assert file_lock.try_take(other, shared=True)
        assert not file_lock.try_take(other)
