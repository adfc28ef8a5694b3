"""Cleanup after builds and pulls that were cancelled or killed: processes, directories, working containers."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from agentcontainer_local.process import file_lock
from agentcontainer_local.process.shield import to_the_end
from agentcontainer_local.sandbox.errors import Unavailable
from agentcontainer_local.sandbox.podman.service import Service

BENCHES = Path("/var/tmp")  # Podman's default for temporary files, which may take gigabytes
SECONDS = 60
PREFIX = "agentcontainer-build-"


@contextlib.asynccontextmanager
async def bench(service: Service) -> AsyncIterator[Path]:
    """A temporary directory (TMPDIR) for one podman command. If the command fails, everything that it left is removed.

    First removes the directories of killed servers. A directory is in use while its lock is held.
    """
    await asyncio.to_thread(sweep, service)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=BENCHES))
    with (folder / "lock").open("w") as lock:
        file_lock.wait(lock)
        try:
            yield folder
        except BaseException:
            await to_the_end(asyncio.to_thread(_clear, service, folder))
            raise
    await asyncio.to_thread(_remove, service, folder)


def mark(folder: Path) -> str:
    """An option of `podman build` that marks its working containers: a host name that is unique to this build."""
    return f"--add-host={folder.name}:127.0.0.1"


def interrupted() -> Iterator[Path]:
    """The directories of builds that were killed. Each one's lock is held until the next is asked for."""
    for folder in BENCHES.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                with (folder / "lock").open("w") as lock:
                    if file_lock.try_take(lock):
                        yield folder


def sweep(service: Service) -> list[str]:
    swept = []
    for folder in interrupted():
        _clear(service, folder)
        swept.append(str(folder))
    return swept


def _clear(service: Service, folder: Path) -> None:
    for pid in _processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # the first process of a pid namespace: the kernel ends the others with it
    for container in _containers(service, folder.name):
        _podman(service, "rm", "--force", container)
    _remove(service, folder)


def _processes(folder: Path) -> Iterator[int]:
    """The processes of RUN instructions, which outlive Podman, found by their mounts of this directory's files."""
    for file in folder.glob("buildah*/pid"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if f"{folder}/" in Path(f"/proc/{pid}/mountinfo").read_text():
                yield pid


def _containers(service: Service, name: str) -> Iterator[str]:
    root = _podman(service, "info", "--format", "{{.Store.GraphRoot}}").strip()
    for file in Path(root or "/nonexistent").glob("*-containers/*/userdata/buildah.json"):
        with contextlib.suppress(OSError, ValueError):
            build = json.loads(file.read_text())
            if any(entry.startswith(f"{name}:") for entry in (build["CommonBuildOpts"] or {}).get("AddHost") or ()):
                yield build["container-id"]


def _remove(service: Service, folder: Path) -> None:
    """Removes the directory. Parts of it may belong to subordinate uids."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _podman(service, "unshare", "rm", "--recursive", "--force", "--", str(folder))


def _podman(service: Service, *words: str) -> str:
    try:
        done = subprocess.run(
            ["podman", *words], env=service.environment, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Unavailable(f"podman {words[0]} has not answered for {SECONDS} seconds") from None
    return done.stdout
