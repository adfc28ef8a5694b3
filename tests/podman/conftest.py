"""Real rootless Podman, and an image of one static program that is made here, so that no registry is needed."""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from agentcontainer_local.sandbox import podman as sandboxes
from agentcontainer_local.sandbox.podman import ContainerSpec, Sandbox

IMAGE = "localhost/agentcontainer-tests/busybox:3"


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> str:
    """Kept between sessions under a name of the tests' own."""
    if subprocess.run(["podman", "image", "exists", IMAGE], cwd="/").returncode != 0:
        root = tmp_path_factory.mktemp("rootfs")
        (root / "bin").mkdir()
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        shutil.copy(_busybox(tmp_path_factory.mktemp("busybox")), root / "bin/busybox")
        for name in (
            "sh",
            "sleep",
            "cat",
            "id",
            "grep",
            "ip",
            "nc",
            "touch",
            "ls",
            "dd",
            "true",
            "stat",
            "timeout",
            "rm",
            "nproc",
            "taskset",
        ):
            (root / "bin" / name).symlink_to("busybox")
        tar = subprocess.run(["tar", "-C", root, "-c", "."], check=True, capture_output=True).stdout
        subprocess.run(["podman", "import", "--change", "ENV=PATH=/bin", "-", IMAGE], input=tar, check=True, cwd="/")
    return IMAGE


def _busybox(folder: Path) -> str:
    """One that needs no libraries: the machine's own, or Debian's, unpacked without installing it."""
    found = shutil.which("busybox")
    if found and subprocess.run(["ldd", found], capture_output=True).returncode != 0:
        return found
    subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, check=True)
    subprocess.run(["dpkg-deb", "-x", *folder.glob("*.deb"), folder], check=True)
    return str(next(folder.glob("**/bin/busybox")))


@pytest.fixture
def runtime_dir():
    path = Path(os.environ["XDG_RUNTIME_DIR"], f"ac-{uuid.uuid4().hex[:8]}")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def sandbox(runtime_dir):
    async with sandboxes.open(runtime_dir, f"test-{uuid.uuid4().hex[:8]}") as opened:
        yield opened
        await clear(opened)


async def clear(opened: Sandbox) -> None:
    for container in await opened.found():
        await opened.remove(container.id)
    for volume in await opened.volumes():
        await opened.remove_volume(volume.name)


@pytest.fixture
def spec(image):
    """A spec of a shell script, or of other words as `command`."""

    def made(script: str = "sleep 600", **changes) -> ContainerSpec:
        words = {"name": f"test-{uuid.uuid4().hex[:8]}", "image": image, "command": ("/bin/sh", "-c", script)}
        return ContainerSpec(**{**words, "uid": 20001, **changes})

    return made


@pytest.fixture
def run(sandbox, spec):
    """Run a script to its end: (exit code, what it wrote to stderr)."""

    async def ran(script: str, **changes) -> tuple[int | None, str]:
        created = await sandbox.create(spec(script, **changes))
        await sandbox.exited(await sandbox.start(created.id))
        code = await sandbox.exit_code(created.id)
        said = await sandbox.logs_tail(created.id)
        await sandbox.remove(created.id)
        return code, said

    return ran
