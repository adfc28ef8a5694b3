"""`agentcontainer images`: the standard containers' images, on this machine.

They are the backend's and not the store's, so they are here before the first server: the backend is asked itself.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.serve import settings_of
from agentcontainer_local.cli.session import JsonFlag, ending

if TYPE_CHECKING:
    from agentcontainer_local.sandbox.backend import Images, KeptImage

app = App("Build, list and remove the standard images.")
STEP = re.compile(r"STEP (\d+)/(\d+): (.*)")


def _with_images(work: Callable[["Images"], Awaitable[Any]]) -> Any:
    """Runs `work` as the account that `serve` would work as."""
    import os

    from agentcontainer_local.process import service_account
    from agentcontainer_local.sandbox import backends

    async def opened() -> Any:
        async with backends.images(settings_of()) as images:
            return await work(images)

    if os.getuid() == 0:
        service_account.become(None)
    return asyncio.run(opened())


def _facts(image: "KeptImage") -> dict[str, Any]:
    return {
        "name": image.name,
        "tag": image.tag,
        "id": image.id,
        "sizeBytes": image.size_bytes,
        "current": image.current,
    }


@app.command("list", example="images list")
def list_images(json: JsonFlag = False) -> None:
    """List the images on this machine. An image that is not current belongs to an earlier version."""
    from agentcontainer_local.cli.output import size

    with ending(json) as out:
        found = [_facts(image) for image in _with_images(lambda images: images.found())]
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
    from agentcontainer_local.sandbox import backends

    with ending(json) as out:
        known = backends.image_names(settings_of())
        if wrong := [name for name in names or () if name not in known]:
            words = f"There is no image {one_line(wrong[0])}. There are: {', '.join(known)}."
            raise Stop(Exit.WRONG_USE, words)
        with out.steps("Looking") as step:

            async def all_of(images: "Images") -> list[dict[str, str]]:
                return [
                    {"name": name, "tag": await images.build(name, lambda line: _step(step, line))}
                    for name in names or known
                ]

            built = _with_images(all_of)
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

    with ending(json) as out:
        data = settings_of().data
        pruned = _with_images(lambda images: images.prune(data, warnings.append))
        found = [
            {**_facts(image), "removed": kept is None, **({} if kept is None else {"reason": kept})}
            for image, kept in pruned
        ]
        for line in warnings:
            out.note(line)
        rows = [(one["tag"], size(one["sizeBytes"]), "removed" if one["removed"] else one["reason"]) for one in found]
        out.table(("tag", "size", "what~"), rows, found, "Nothing to remove.")
