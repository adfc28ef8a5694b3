"""Finds images that can be removed: made for earlier versions of this program, and not used by any definition."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentcontainer_local.sandbox.podman import Image, Sandbox, standard_images, writable_images
from agentcontainer_local.store import identity

VERSIONS = "SELECT * FROM container_versions"


def ours(image: Image, tag: str) -> bool:
    """Whether this program made the image under this tag. Images built on it inherit its labels, but not its tag."""
    made_for = image.labels.get(standard_images.MADE_FOR)
    if made_for is not None:
        return tag == made_for
    return tag.rpartition(":")[0] == f"localhost/agentcontainer-{image.labels.get(standard_images.LABEL)}"


def definitions(data: Path, warn: Callable[[str], None]) -> list[dict[str, Any]]:
    """All versions of all containers in `data`, even if it was never served, and in the account's other stores."""
    return [version for data in {data.resolve(), *identity.data_directories()} for version in _versions(data, warn)]


async def named(sandbox: Sandbox, versions: list[dict[str, Any]]) -> set[str]:
    """The ids of the images that these versions name."""
    refs = {version["image"] for version in versions if version["image"] is not None}
    return {found for ref in refs if (found := await sandbox.image_id(ref))}


async def unused_writable_images(sandbox: Sandbox, versions: list[dict[str, Any]]) -> list[tuple[str, Image]]:
    """Writable images that no version asks for, or whose original image has changed."""
    wanted = set()
    for version in versions:
        # the column is missing in stores of earlier versions
        if paths := json.loads(version.get("writable_paths") or "[]"):
            ids = [await sandbox.image_id(ref) for ref in _refs(version)]
            wanted |= {writable_images.name_of(id, paths, writable_images.program()) for id in ids if id}
    return [
        (tag, image)
        for image in await sandbox.images(writable_images.ORIGIN)
        for tag in image.names
        if tag.startswith(writable_images.NAME + ":") and tag not in wanted
    ]


def _refs(version: dict[str, Any]) -> list[str]:
    if version["preset"] is None:
        return [version["image"]]
    bases = (standard_images.REGISTRY_BASE, standard_images.made_base())
    return [standard_images.tag_of(standard_images.BY_PRESET[version["preset"]], base) for base in bases]


def _versions(data: Path, warn: Callable[[str], None]) -> list[dict[str, Any]]:
    database = data / "agentcontainer.db"
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as store:
            store.row_factory = sqlite3.Row
            return [dict(version) for version in store.execute(VERSIONS)]
    except sqlite3.Error as error:
        if database.exists():
            warn(f"The container definitions in {data} can't be read and were not asked: {error}.")
        return []
