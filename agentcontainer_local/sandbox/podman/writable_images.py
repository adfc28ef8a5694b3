"""Images in which an agent may write to directories that belong to somebody else: made once of each image, and kept.

An agent's container runs as a uid of its own, without capabilities, and that stays so. What differs is the image: in a
layer of its own, the directories that its definition names are open to everybody.
"""

import hashlib
import json
import tempfile
from importlib.resources import files
from pathlib import Path

from agentcontainer_local.guest_contract import MOUNT
from agentcontainer_local.process.file_lock import alone
from agentcontainer_local.sandbox.podman import Bind, Image, Sandbox
from agentcontainer_local.sandbox.podman.standard_images import Say

NAME = "localhost/agentcontainer-opened"
ORIGIN = "agentcontainer.opened-from"  # the image that it was made of, whose variables it has


async def ensure(sandbox: Sandbox, image: Image, paths: list[str], runtime: Path, say: Say) -> str:
    """The image's name. What opens the directories is our own program, with nothing of the image at work."""
    name = name_of(image.id, paths, (runtime / "guest" / "open.mjs").read_bytes())
    async with alone("images"):
        if await sandbox.image_id(name) is None:
            say(f"Opening {', '.join(paths)}, once")
            await _make(sandbox, image, paths, runtime, name.rpartition(":")[2])
    return name


def name_of(image_id: str, paths: list[str], program: bytes) -> str:
    return f"{NAME}:{hashlib.sha256(json.dumps([image_id, paths]).encode() + program).hexdigest()[:12]}"


def program() -> bytes:
    """Of this version."""
    return files("agentcontainer_local").joinpath("guest_runtime", "open.mjs").read_bytes()


async def _make(sandbox: Sandbox, image: Image, paths: list[str], runtime: Path, tag: str) -> None:
    node = [f"{MOUNT}/libexec/node", "--openssl-config=/dev/null", f"{MOUNT}/guest/open.mjs"]
    with tempfile.TemporaryDirectory(prefix="agentcontainer-", dir="/var/tmp") as folder:
        (empty := Path(folder) / "empty").touch()
        # No library of the image gets into our program, which is root in this one container.
        binds = [Bind(str(runtime), MOUNT), Bind(str(empty), "/etc/ld.so.preload")]
        await sandbox.change(image.id, NAME, tag, [*node, *paths], binds, (ORIGIN, image.id))


async def environment(sandbox: Sandbox, ref: str) -> dict[str, str]:
    """The variables that an image sets; none where it was removed since."""
    image = await sandbox.image(ref)
    return {} if image is None else await environment_of(sandbox, image)


async def environment_of(sandbox: Sandbox, image: Image) -> dict[str, str]:
    if origin := image.labels.get(ORIGIN):
        return await environment(sandbox, origin)
    return image.env
