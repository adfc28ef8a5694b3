"""Images on a node: each in a store of its own, which is whole or not there, and never changed. Jobs read them."""

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

KEEP = 12  # of those that were used last


def storage_conf(folder: Path, image: Path) -> str:
    """Of a job: its containers are its own, and the image is read where it lies."""
    return (
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run/storage"\n'
        f'[storage.options]\nadditionalimagestores = ["{image}"]\n'
    )


async def there(images: Path, id: str, fetch: AsyncIterator[bytes]) -> Path:
    """The store with that image; fetched once, whoever else on this node waits for it. It stays as long as this process
    lives. Raises Unavailable."""
    images.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = images / id[:16]
    lock = os.open(images / f"{store.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
    if not store.exists():
        await _fetched(store, fetch)
    os.utime(store)
    fcntl.flock(lock, fcntl.LOCK_SH)  # until this process ends
    return store


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
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended, and says why
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
    """Those that were not used for longest. One that a job reads stays."""
    stores = sorted((path for path in images.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for store in stores[:-KEEP]:
        lock = os.open(images / f"{store.name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(store, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
