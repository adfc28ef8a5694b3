"""`agentcontainer images`: the standard containers' images, on this machine.

They are Podman's and not the store's, so they are here before the first server: Podman is asked itself.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import settings_of
from agentcontainer_local.cli.session import JsonFlag, ending

if TYPE_CHECKING:
    from agentcontainer_local.sandbox.podman import Sandbox

app = App("Build, list and remove the standard images.")
STEP = re.compile(r"STEP (\d+)/(\d+): (.*)")


def _with_podman(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Runs `work(sandbox)` with a Podman of this command's own, as the account that `serve` would work as."""
    import os

    from agentcontainer_local.process import runtime_directory, service_account
    from agentcontainer_local.sandbox import podman as sandbox

    async def opened() -> Any:
        with runtime_directory.for_a_while() as folder:
            async with sandbox.open(Path(folder), "images") as podman:
                return await work(podman)

    if os.getuid() == 0:
        service_account.become(None)
    return asyncio.run(opened())


async def _found(podman: "Sandbox") -> list[dict[str, Any]]:
    """Each image of ours: which standard one it is, and whether it is the one in use."""
    from agentcontainer_local.sandbox.podman import standard_images
    from agentcontainer_local.sandbox.podman.prune import ours

    bases = (standard_images.REGISTRY_BASE, standard_images.made_base())
    current = {standard_images.tag_of(name, base) for name in standard_images.BY_PRESET.values() for base in bases} | {
        bases[1]
    }
    presets = {folder: preset for preset, folder in standard_images.BY_PRESET.items()}
    return [
        {
            "name": presets.get(image.labels[standard_images.LABEL], image.labels[standard_images.LABEL]),
            "tag": tag,
            "id": image.id[:12],
            "sizeBytes": image.size_bytes,
            "current": tag in current,
        }
        for image in await podman.images(standard_images.LABEL)
        for tag in image.names
        if ours(image, tag)
    ]


@app.command("list", example="images list")
def list_images(json: JsonFlag = False) -> None:
    """List the images on this machine. An image that is not current belongs to an earlier version."""
    from agentcontainer_local.cli.output import size

    with ending(json) as out:
        found = _with_podman(_found)
        rows = [(one["name"], size(one["sizeBytes"]), "yes" if one["current"] else "no", one["tag"]) for one in found]
        empty = "There are no images. `agentcontainer images build` builds them."
        out.table(("name", "size", "current", "tag"), rows, found, empty)


@app.command("build", example="images build coding")
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="coding, data-processing or document-analysis. By default all."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Build the images now, instead of at the first task that needs them."""
    from agentcontainer_local.process.text import one_line
    from agentcontainer_local.sandbox.podman import standard_images

    with ending(json) as out:
        folders = {**standard_images.BY_PRESET, **{folder: folder for folder in standard_images.BY_PRESET.values()}}
        if wrong := [name for name in names or () if name not in folders]:
            known = ", ".join(standard_images.BY_PRESET)
            raise Stop(Exit.WRONG_USE, f"There is no image {one_line(wrong[0])}. There are: {known}.")
        with out.steps("Looking") as step:

            async def all_of(podman: "Sandbox") -> list[dict[str, Any]]:
                return [
                    {
                        "name": name,
                        "tag": await standard_images.ensure(podman, folders[name], lambda line: _step(step, line)),
                    }
                    for name in names or standard_images.BY_PRESET
                ]

            built = _with_podman(all_of)
        if json:
            out.json(built)
        else:
            for image in built:
                out.say(f"{image['name']}  {image['tag']}")


def _step(step: Callable[..., Any], line: str) -> None:
    found = STEP.search(line)
    step(line, int(found[1]) - 1, int(found[2])) if found else step(line)


@app.command("prune", example="images prune")
def prune(json: JsonFlag = False) -> None:
    """Remove images that nothing uses any more.

    These are standard images of earlier versions, and copies made for `--writable` that no container definition asks
    for. An image that a container definition names, or that a container uses, stays; so does each image that you built
    yourself."""
    from agentcontainer_local.cli.output import size

    warnings: list[str] = []

    async def pruned(podman: "Sandbox") -> list[dict[str, Any]]:
        from agentcontainer_local.sandbox.podman import SandboxError, prune

        versions = prune.definitions(settings_of().data, warnings.append)
        named = {id[:12] for id in await prune.named(podman, versions)}
        found: list[dict[str, Any]] = [
            {"name": "writable", "tag": tag, "id": image.id[:12], "sizeBytes": image.size_bytes, "current": False}
            for tag, image in await prune.opened_in_vain(podman, versions)
        ]
        found += [one for one in await _found(podman) if not one["current"]]
        for one in found:
            if one["id"] in named:
                one |= {"removed": False, "reason": "a container definition names it"}
                continue
            try:
                await podman.remove_image(one["tag"])
                one["removed"] = True
            except SandboxError as error:
                one |= {"removed": False, "reason": str(error)}
        return found

    with ending(json) as out:
        found = _with_podman(pruned)
        for line in warnings:
            out.note(line)
        rows = [(one["tag"], size(one["sizeBytes"]), "removed" if one["removed"] else one["reason"]) for one in found]
        out.table(("tag", "size", "what~"), rows, found, "Nothing to remove.")
