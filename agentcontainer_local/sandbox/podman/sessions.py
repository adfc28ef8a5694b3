"""Whether an agent has worked with a slot's volumes, as its session tells."""

import asyncio
import subprocess

from agentcontainer_local.sandbox.errors import SandboxError
from agentcontainer_local.sandbox.podman import Sandbox

SECONDS = 60


async def has_begun(sandbox: Sandbox, volume: str) -> bool:
    """Whether the agent with this session volume was given a task. An agent that waits has an id for its session and
    no session yet; before it has the id, the only session is that of its dry run."""
    folder = next((one.folder for one in await sandbox.volumes() if one.name == volume), None)
    if folder is None:
        return False
    id, sessions = f"{folder}/session-id", f"{folder}/sessions/"
    found = await asyncio.to_thread(_files, sandbox, folder, id, f"{sessions}*")
    return id in found and any(name.startswith(sessions) for name in found)


def _files(sandbox: Sandbox, folder: str, *patterns: str) -> list[str]:
    """In our user namespace, because the files belong to the agent's uid."""
    wanted = [word for pattern in patterns for word in ("-o", "-path", pattern)][1:]
    words = ["podman", "unshare", "find", folder, "-type", "f", "(", *wanted, ")"]
    try:
        done = subprocess.run(
            words, cwd="/", env=sandbox.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SandboxError(f"{folder} could not be read in {SECONDS} s") from None
    if done.returncode:
        raise SandboxError(f"{folder} could not be read: {done.stderr[-500:]}")
    return done.stdout.splitlines()
