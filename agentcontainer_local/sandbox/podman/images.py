"""Images: finding, pulling, building and removing them."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

from agentcontainer_local.sandbox.errors import failed
from agentcontainer_local.sandbox.podman import builds
from agentcontainer_local.sandbox.podman.libpod import Libpod
from agentcontainer_local.sandbox.podman.spec import Image

Progress = Callable[[str], None]


class Images:
    def __init__(self, api: Libpod):
        self._api = api

    async def image(self, ref: str) -> Image | None:
        answer = await self._api.call("GET", f"/images/{quote(ref, safe='/:@')}/json", expect=(404,))
        if answer.status == 404:
            return None
        body = answer.body
        env = dict(line.split("=", 1) for line in body["Config"].get("Env") or () if "=" in line)
        return Image(body["Id"], tuple(body.get("RepoTags") or ()), body.get("Labels") or {}, body["Size"], env)

    async def image_id(self, ref: str) -> str | None:
        found = await self.image(ref)
        return None if found is None else found.id

    async def images(self, label: str) -> list[Image]:
        """Images with this label, given as `name` or `name=value`. Their `env` is empty."""
        params = {"filters": json.dumps({"label": [label]})}
        rows = (await self._api.call("GET", "/images/json", params=params)).body or ()
        return [Image(r["Id"], tuple(r.get("Names") or ()), r.get("Labels") or {}, r["Size"], {}) for r in rows]

    async def remove_image(self, ref: str) -> None:
        """Removes an image. Does nothing if it is gone. Raises SandboxError if a container uses it."""
        await self._api.call("DELETE", f"/images/{quote(ref, safe='/:@')}", expect=(404,))

    async def pull(self, ref: str, progress: Progress) -> None:
        await self._podman(("pull", ref), progress)

    async def build(
        self,
        context: Path,
        containerfile: Path,
        tag: str,
        *,
        progress: Progress,
        args: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        volumes: tuple[str, ...] = (),
        pull: str = "missing",
    ) -> None:
        """Builds with the podman command: the REST API of 4.3 ignores `volumes` (`source:target:ro`)."""
        options = [f"--pull={pull}", "--force-rm", "--tag", tag, "--file", str(containerfile)]
        options += [f"--build-arg={name}={value}" for name, value in (args or {}).items()]
        options += [f"--label={name}={value}" for name, value in (labels or {}).items()]
        options += [f"--volume={volume}" for volume in volumes]
        await self._podman(("build", *options, str(context)), progress)

    async def _podman(self, words: tuple[str, ...], progress: Progress) -> None:
        """Runs a podman command and passes on its output by line; an error has its last lines. Cancelling ends the
        command and cleans up."""
        async with builds.bench(self._api.service) as folder:
            await self._watched(
                words[:1] + ((builds.mark(folder),) if words[0] == "build" else ()) + words[1:], folder, progress
            )

    async def _watched(self, words: tuple[str, ...], folder: Path, progress: Progress) -> None:
        service = self._api.service
        where = () if service.ours else ("--url", f"unix://{service.socket}")
        running = await asyncio.create_subprocess_exec(
            "podman",
            *where,
            *words,
            env={**service.environment, "TMPDIR": str(folder)},
            cwd="/",
            start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        last: list[str] = []
        assert running.stdout is not None
        try:
            async for line in _lines(running.stdout):
                last = [*last[-19:], line]
                progress(line)
            code = await running.wait()
        finally:
            await _end(running)
        if code != 0:
            raise failed(words[0], code, "\n".join(last))


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """The lines of a stream, of any length. Carriage returns also end a line."""
    rest = ""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk.decode(errors="replace")).replace("\r", "\n").split("\n")
        for line in lines:
            if line.strip():
                yield line.rstrip()
        rest = rest[-65536:]
    if rest.strip():
        yield rest.rstrip()


async def _end(running: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if running.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.wait(), 10)
