"""Images in which an agent may write to directories of another user. Each is made once from another image and kept.

The agent's container still has its own uid and no capabilities. Only the image differs: in an additional layer, the
directories named in the container's definition are writable for everybody.
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
ORIGIN = "agentcontainer.opened-from"  # label with the original image's id; its environment variables apply


async def ensure(sandbox: Sandbox, image: Image, paths: list[str], runtime: Path, say: Say) -> str:
    """Returns the image's name, and makes the image if it is missing. Our own program changes the directories; no
    program of the image runs."""
    name = name_of(image.id, paths, (runtime / "guest" / "open.mjs").read_bytes())
    async with alone("images"):
        if await sandbox.image_id(name) is None:
            say(f"Opening {', '.join(paths)}, once")
            await _make(sandbox, image, paths, runtime, name.rpartition(":")[2])
    return name


def name_of(image_id: str, paths: list[str], program: bytes) -> str:
    return f"{NAME}:{hashlib.sha256(json.dumps([image_id, paths]).encode() + program).hexdigest()[:12]}"


def program() -> bytes:
    """This version's program that makes directories writable. Its content is part of the image's name."""
    return files("agentcontainer_local").joinpath("guest_runtime", "open.mjs").read_bytes()


async def _make(sandbox: Sandbox, image: Image, paths: list[str], runtime: Path, tag: str) -> None:
    node = [f"{MOUNT}/libexec/node", "--openssl-config=/dev/null", f"{MOUNT}/guest/open.mjs"]
    with tempfile.TemporaryDirectory(prefix="agentcontainer-", dir="/var/tmp") as folder:
        (empty := Path(folder) / "empty").touch()
        # The program runs as root in this container, so it must not load the image's libraries.
        binds = [Bind(str(runtime), MOUNT), Bind(str(empty), "/etc/ld.so.preload")]
        await sandbox.change(image.id, NAME, tag, [*node, *paths], binds, (ORIGIN, image.id))


async def environment(sandbox: Sandbox, ref: str) -> dict[str, str]:
    """The environment variables of an image; empty if it was removed."""
    image = await sandbox.image(ref)
    return {} if image is None else await environment_of(sandbox, image)


async def environment_of(sandbox: Sandbox, image: Image) -> dict[str, str]:
    if origin := image.labels.get(ORIGIN):
        return await environment(sandbox, origin)
    return image.env
