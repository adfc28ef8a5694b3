"""What builds and pulls leave behind when they are cancelled or killed: processes, folders, working containers."""

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

BENCHES = Path("/var/tmp")  # where Podman's own temporary files are by default: there may be gigabytes of them
SECONDS = 60
PREFIX = "agentcontainer-build-"


@contextlib.asynccontextmanager
async def bench(service: Service) -> AsyncIterator[Path]:
    """A temporary folder (TMPDIR) for one podman command; with what goes wrong, all that it left is removed.

    What a server that was killed has left is removed before. Whose a folder is, its lock says: that ends with us.
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
    """An option of `podman build` by which its working containers are known: a name for this machine, for the build."""
    return f"--add-host={folder.name}:127.0.0.1"


def interrupted() -> Iterator[Path]:
    """The folders of builds that were killed. While one is looked at, its lock is held."""
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
            os.kill(pid, signal.SIGKILL)  # the first of a pid namespace: the others end with it
    for container in _containers(service, folder.name):
        _podman(service, "rm", "--force", container)
    _remove(service, folder)


def _processes(folder: Path) -> Iterator[int]:
    """The processes of RUN lines: they outlive Podman, and have files of this folder mounted."""
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
    """Parts of it may belong to sub-uids."""
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
