"""Files that are whole at any moment."""

import json
import subprocess
import sys
from pathlib import Path

from agentcontainer_local.process import atomic_file

TEXTS = [json.dumps([number] * 20_000) for number in range(2)]
WRITER = (
    "import sys; from pathlib import Path; from agentcontainer_local.process import atomic_file\n"
    "while True:\n"
    "    for text in sys.argv[2:]: atomic_file.write(Path(sys.argv[1]), text)\n"
    "    print(flush=True)\n"
)


def test_whoever_reads_while_it_is_written_and_its_writer_killed_finds_it_whole(tmp_path: Path):
    path = tmp_path / "it.json"
    seen = set()
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, path, *TEXTS], stdout=subprocess.PIPE) as writing:
            for _ in range(300):
                writing.stdout.readline()
                seen |= {path.read_text() for _ in range(5)}
            writing.kill()
        seen.add(path.read_text())
    assert seen == set(TEXTS)
    atomic_file.write(path, "short", 0o700)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("short", 0o700)
    assert list(tmp_path.iterdir()) == [path]


def test_a_secret_is_written_with_its_mode(tmp_path: Path):
    atomic_file.write(tmp_path / "secret.key", b"secret", 0o600, synced=True)
    assert (tmp_path / "secret.key").read_bytes() == b"secret"
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


def test_what_a_writer_left_that_was_killed_is_in_nobodys_way(tmp_path: Path):
    (tmp_path / "it.json.part").write_text("half")
    atomic_file.write(tmp_path / "it.json", "whole")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"it.json": "whole"}
