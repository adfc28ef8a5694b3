"""Which images may be removed: those that we made, for earlier versions, and that no definition names."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from agentcontainer_local import identity, images
from agentcontainer_local.sandbox import Image, Sandbox

NAMED = "SELECT DISTINCT image FROM container_versions WHERE image IS NOT NULL"


def ours(image: Image, tag: str) -> bool:
    """An image that is built on one of ours inherits its labels. Ours say which tag they were made for, since 1.0."""
    made_for = image.labels.get(images.MADE_FOR)
    if made_for is not None:
        return tag == made_for
    return tag.rpartition(":")[0] == f"localhost/agentcontainer-{image.labels.get(images.LABEL)}"


async def named_by_definitions(sandbox: Sandbox, data: Path, warn: Callable[[str], None]) -> set[str]:
    """The ids of the images that container definitions name, all versions of them: in `data`, which no server may have
    served yet, and in the account's other stores."""
    refs = {ref for data in {data.resolve(), *identity.data_directories()} for ref in _named_in(data, warn)}
    return {found for ref in refs if (found := await sandbox.image_id(ref))}


def _named_in(data: Path, warn: Callable[[str], None]) -> list[str]:
    database = data / "agentcontainer.db"
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=10)) as store:
            return [ref for (ref,) in store.execute(NAMED)]
    except sqlite3.Error as error:
        if database.exists():
            warn(f"The container definitions in {data} can't be read and were not asked: {error}.")
        return []
