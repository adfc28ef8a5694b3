"""Images for nodes: made ready at the host, as for its own runs, and sent to each node once."""

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
    """A backend of this machine's, of which only the images are used."""

    async def image(self, choice: ImageChoice, say: Say) -> "Ready":
        """Builds or pulls it, if need be. Raises SandboxError."""
        ...


@dataclass(frozen=True)
class Ready:
    name: str
    id: str
    env: Mapping[str, str]  # that it sets


class HostImages:
    def __init__(self, local: Local, environment: Mapping[str, str]):
        self._local = local
        self._environment = environment
        self._ready: dict[ImageChoice, Ready] = {}

    async def ensure(self, choice: ImageChoice, say: Say) -> None:
        self._ready[choice] = await self._local.image(choice, say)

    def ready(self, choice: ImageChoice) -> Ready | None:
        """None for one that was not made ready by this server: of a run that is adopted."""
        return self._ready.get(choice)

    async def send(self, choice: ImageChoice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Its archive, uncompressed, until the stream's end; a last line says that it is whole."""
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
        """Raises SandboxError where the archive ends before it is whole."""
        data = await out.read(PIECE_BYTES)
        if not data and await process.wait() != 0:
            assert process.stderr is not None
            raise SandboxError(f"podman save failed: {(await process.stderr.read()).decode(errors='replace').strip()}")
        return data
