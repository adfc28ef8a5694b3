"""Images for nodes. The host builds or pulls them as for its own runs, and sends each to a node once."""

import asyncio
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agentcontainer_local.sandbox.backend import ImageChoice, Say
from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.placed import wire

PIECE_BYTES = 1024**2


class Local(Protocol):
    """The backend of this machine, used only for its images."""

    async def image(self, choice: ImageChoice, say: Say) -> "Ready":
        """Builds or pulls the image if needed. Raises SandboxError."""
        ...


@dataclass(frozen=True)
class Ready:
    name: str
    id: str
    env: Mapping[str, str]  # environment variables of the image


class HostImages:
    def __init__(self, local: Local, environment: Mapping[str, str]):
        self._local = local
        self._environment = environment
        self._ready: dict[ImageChoice, Ready] = {}

    async def ensure(self, choice: ImageChoice, say: Say) -> None:
        self._ready[choice] = await self._local.image(choice, say)

    def ready(self, choice: ImageChoice) -> Ready | None:
        """The image. None if this server did not prepare it, as for an adopted run."""
        return self._ready.get(choice)

    async def send(self, choice: ImageChoice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends the image's archive, uncompressed, with `wire.send_pieces`."""
        name = self._ready[choice].name
        process = await asyncio.create_subprocess_exec(
            "podman", "save", "--format", "docker-archive", name, env=self._environment, cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        writer.write(wire.line({"ok": True}))
        try:
            out = process.stdout
            await wire.send_pieces(writer, lambda: self._read(process, out))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            writer.close()

    async def _read(self, process: asyncio.subprocess.Process, out: asyncio.StreamReader) -> bytes:
        """Reads a piece of the archive. Raises SandboxError if the archive ends early."""
        data = await out.read(PIECE_BYTES)
        if not data and await process.wait() != 0:
            assert process.stderr is not None
            raise SandboxError(f"podman save failed: {(await process.stderr.read()).decode(errors='replace').strip()}")
        return data
