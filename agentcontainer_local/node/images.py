"""Images on a node. Each has its own storage, which is complete or missing, and never changes. Jobs read it."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from agentcontainer_local.node.job import SEEN_AT
from agentcontainer_local.sandbox.errors import Unavailable
from agentcontainer_local.sandbox.placed.wire import Closed

KEEP = 12  # number of images kept, by last use


def storage_conf(folder: Path, image: Path) -> str:
    """The storage.conf of a job: it has its own containers, and reads the image from its storage."""
    return (
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run/storage"\n'
        f'[storage.options]\nadditionalimagestores = ["{image}"]\n'
    )


async def there(images: Path, id: str, fetch: AsyncIterator[bytes]) -> Path:
    """The storage with this image. It is fetched once for all jobs on the node, and kept while this process runs.
    Raises Unavailable."""
    images.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = images / id[:16]
    fetching = _lock(images / f"{store.name}.fetch")
    try:
        await asyncio.to_thread(fcntl.flock, fetching, fcntl.LOCK_EX)
        if not store.exists():
            await _fetched(store, fetch)
        os.utime(store)
        fcntl.flock(_lock(images / f"{store.name}.used"), fcntl.LOCK_SH)  # until this process ends
    finally:
        os.close(fetching)
    return store


def _lock(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)


async def _fetched(store: Path, fetch: AsyncIterator[bytes]) -> None:
    part = store.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    run = SEEN_AT / "run/load"
    words = ["podman", "--root", str(part), "--runroot", str(run), "--storage-driver", "overlay"]
    environ = {name: value for name, value in os.environ.items() if name != "CONTAINERS_STORAGE_CONF"}
    process = await asyncio.create_subprocess_exec(
        *words, "load", "--quiet", env=environ, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stderr is not None
    try:
        # podman has ended, and its stderr has the reason
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for data in fetch:
                process.stdin.write(data)
                await process.stdin.drain()
        process.stdin.close()
        said = (await process.stderr.read()).decode(errors="replace").strip()
        if await process.wait() != 0:
            raise Unavailable(f"The image could not be loaded: {said}")
    except Closed as error:
        raise Unavailable(f"The image could not be fetched: {error}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        shutil.rmtree(run, ignore_errors=True)
    part.replace(store)


def swept(images: Path) -> None:
    """Removes the least recently used images. Images in use are kept."""
    stores = sorted((path for path in images.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for store in stores[:-KEEP]:
        lock = _lock(images / f"{store.name}.used")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(store, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
