"""Builds that are cancelled, or whose server is killed, leave no process, no container and no folder behind."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from agentcontainer_local.sandbox import podman as sandboxes
from agentcontainer_local.sandbox.podman import builds, processes
from agentcontainer_local.sandbox.podman.service import Service

TAG = "localhost/agentcontainer-tests/never:1"


@pytest.fixture
def slow(tmp_path, image) -> Path:
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN echo at work; sleep 4711\n")
    return tmp_path


@pytest.fixture(autouse=True)
def prefix(monkeypatch) -> str:
    """Folders of these builds alone: other tests build at the same time."""
    monkeypatch.setattr(builds, "PREFIX", f"agentcontainer-build-{secrets.token_hex(4)}-")
    return builds.PREFIX


def left() -> tuple[list, list, list]:
    """Processes of the RUN line, working containers and folders of these builds."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    said = subprocess.run(
        ["podman", "ps", "--all", "--external", "--format", "{{.Names}}"], check=True, capture_output=True, text=True,
        cwd="/",
    ).stdout  # fmt: skip
    return (
        [pid for pid in pids if processes.command_line(pid)[:2] == ["sleep", "4711"]],
        [name for name in said.split() if name.startswith("busybox-working-container")],
        [folder for folder in builds.BENCHES.glob(f"{builds.PREFIX}*") if folder.stat().st_uid == os.getuid()],
    )  # fmt: skip


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_build_leaves_nothing(sandbox, slow, times):
    at_work = asyncio.Event()
    building = asyncio.create_task(
        sandbox.build(slow, slow / "Containerfile", TAG, progress=lambda line: line == "at work" and at_work.set())
    )
    await asyncio.wait_for(at_work.wait(), 30)
    assert all(left())
    for _ in range(times):
        building.cancel()
        await asyncio.sleep(0.05)
    with contextlib.suppress(asyncio.CancelledError):
        await building
    assert left() == ([], [], [])
    assert await sandbox.image(TAG) is None


async def test_what_a_killed_server_was_building_is_removed_before_the_next_build(runtime_dir, slow, sandbox):
    script = (
        "import asyncio, pathlib, sys\n"
        "from agentcontainer_local.sandbox import podman as sandbox\n"
        "from agentcontainer_local.sandbox.podman import builds\n"
        f"builds.PREFIX = {builds.PREFIX!r}\n"
        "async def main():\n"
        "    folder = pathlib.Path(sys.argv[2])\n"
        "    async with sandbox.open(pathlib.Path(sys.argv[1]), 'test-killed') as opened:\n"
        "        say = lambda line: print(line, flush=True)\n"
        f"        await opened.build(folder, folder / 'Containerfile', {TAG!r}, progress=say)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, runtime_dir / "b", slow], stdout=subprocess.PIPE) as server:
        next(line for line in server.stdout if line == b"at work\n")
        server.kill()
    for pid in [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()]:
        if processes.command_line(pid)[:2] == ["podman", "build"] and TAG in processes.command_line(pid):
            os.kill(pid, 9)
    assert all(left())
    (slow / "Containerfile").write_text("FROM scratch\nLABEL a=b\n")
    await sandbox.build(slow, slow / "Containerfile", TAG, progress=print)
    assert left() == ([], [], [])
    await sandbox.remove_image(TAG)


async def test_a_link_in_the_place_of_a_builds_folder_is_not_followed(runtime_dir, tmp_path):
    """Everybody may make one there, and it may lead to any folder of ours."""
    (tmp_path / "lock").write_text("a server's address")
    link = builds.BENCHES / f"{builds.PREFIX}{tmp_path.name}"
    link.symlink_to(tmp_path)
    try:
        await asyncio.to_thread(builds.sweep, Service(runtime_dir, None, None))
        assert link.is_symlink() and (tmp_path / "lock").read_text() == "a server's address"
    finally:
        link.unlink(missing_ok=True)


async def test_a_build_that_goes_on_is_left_alone_by_another(sandbox, slow, tmp_path_factory, runtime_dir):
    at_work = asyncio.Event()
    building = asyncio.create_task(
        sandbox.build(slow, slow / "Containerfile", TAG, progress=lambda line: line == "at work" and at_work.set())
    )
    await asyncio.wait_for(at_work.wait(), 30)
    other = tmp_path_factory.mktemp("other")
    (other / "Containerfile").write_text("FROM scratch\nLABEL a=b\n")
    async with sandboxes.open(runtime_dir / "o", "test-other") as opened:
        await opened.build(other, other / "Containerfile", TAG + "o", progress=print)
        await opened.remove_image(TAG + "o")
    assert not building.done()
    assert left()[0]
    building.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await building
