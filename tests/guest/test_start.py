"""How Pi is started: from the snapshot that the runtime has for this processor, else plainly."""

import subprocess
from pathlib import Path

import pytest

from .door import Door
from .lab import Lab

TAG = "console.log(require('node:v8').cachedDataVersionTag())"


@pytest.fixture
def tag(node: Path) -> str:
    """What V8 compares before it takes a snapshot."""
    return subprocess.run([node, "-e", TAG], check=True, capture_output=True, text=True).stdout.strip()


async def started_with(lab: Lab, door: Door) -> str:
    """The arguments of Pi."""
    shown = lab.root / "shown"
    node = lab.root / "node"
    node.write_text(f'#!/bin/sh\necho "$@" > {shown}\n')
    node.chmod(0o755)
    lab.launch(argv=[str(node), "cli.js", "--mode", "rpc"])
    await lab.start()
    await door.heard("pi_exited")
    return shown.read_text().strip()


def test_a_runtime_has_the_snapshot_for_its_node_and_this_processor(pi_home: Path, tag: str):
    assert [path.name for path in (pi_home.parent / "snapshot").iterdir()] == [f"{tag}.blob"]


async def test_pi_is_started_from_the_snapshot(lab: Lab, door: Door, tag: str):
    snapshot = lab.root / "agent/snapshot" / f"{tag}.blob"
    snapshot.parent.mkdir()
    snapshot.touch()
    assert await started_with(lab, door) == f"--snapshot-blob {snapshot} cli.js --mode rpc"


async def test_pi_is_started_plainly_where_the_snapshot_is_for_another_processor(lab: Lab, door: Door):
    snapshot = lab.root / "agent/snapshot/1.blob"
    snapshot.parent.mkdir()
    snapshot.touch()
    assert await started_with(lab, door) == "cli.js --mode rpc"
