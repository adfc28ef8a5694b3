"""Containers: named execution environments. Each has versions; the last one is current."""

import json
from datetime import datetime

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, Invalid, NotFound
from agentcontainer_local.store.db import STANDARD_DOWN, STANDARD_UP, Database, Row, iso, row, rows, single

# id → (name, description, preset)
STANDARD = {
    "ctr_standard_coding": ("Coding", "General-purpose coding: git, ripgrep, Python, Node, build tools.", "coding"),
    "ctr_standard_data": (
        "Data processing",
        "Python with pandas and matplotlib, for tables and charts.",
        "data-processing",
    ),
    "ctr_standard_documents": (
        "Document analysis",
        "poppler, pandoc and tesseract, for PDFs, scans and office files.",
        "document-analysis",
    ),
}


def ensure_standard(db: Database, now: datetime) -> None:
    """Writes the standard containers, with new versions if they have changed."""
    with db.atomic():
        for id, (name, description, preset) in STANDARD.items():
            db.conn.execute(
                "INSERT INTO containers (id, name, description, created_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description",
                (id, name, description, iso(now)),
            )
            newest = row(db, NEWEST, (id,))
            if newest is None or newest["preset"] != preset:
                add_version(db, id, preset, None, "[]", now)


# Finding

OWNED = "SELECT * FROM containers WHERE id = ? AND NOT hidden AND (account_id = ? OR account_id IS NULL)"
NEWEST = "SELECT * FROM container_versions WHERE container_id = ? ORDER BY number DESC LIMIT 1"
PAGE_UP = (
    f"SELECT containers.*, {STANDARD_UP} AS number FROM containers"
    f" WHERE (account_id = :account OR account_id IS NULL) AND NOT hidden AND {STANDARD_UP} > :after"
    f" ORDER BY {STANDARD_UP} LIMIT :limit"
)
PAGE_DOWN = (
    f"SELECT containers.*, {STANDARD_DOWN} AS number FROM containers"
    f" WHERE (account_id = :account OR account_id IS NULL) AND NOT hidden AND {STANDARD_DOWN} < :after"
    f" ORDER BY {STANDARD_DOWN} DESC LIMIT :limit"
)
VERSIONS_UP = "SELECT * FROM container_versions WHERE container_id = ? AND number > ? ORDER BY number LIMIT ?"
VERSIONS_DOWN = "SELECT * FROM container_versions WHERE container_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def owned(db: Database, account_id: str, container_id: str) -> Row:
    """One of the account's containers, or a standard container. Raises NotFound."""
    found = row(db, OWNED, (container_id, account_id))
    if found is None:
        raise NotFound(f"There is no container {container_id}.")
    return found


def custom(db: Database, account_id: str, container_id: str) -> Row:
    """A container that the account may change. Raises NotFound, and Conflict for a standard container."""
    found = owned(db, account_id, container_id)
    if found["account_id"] is None:
        raise Conflict("A standard container can't be changed. Fork it and change the fork.")
    return found


def current(db: Database, container_id: str) -> Row:
    return single(db, NEWEST, (container_id,))


def version(db: Database, version_id: str) -> Row:
    """The version's row. For the engine, which has the id from another row."""
    return single(db, "SELECT * FROM container_versions WHERE id = ?", (version_id,))


def one_version(db: Database, container_id: str, version_id: str) -> Row:
    sql = "SELECT * FROM container_versions WHERE id = ? AND container_id = ?"
    found = row(db, sql, (version_id, container_id))
    if found is None:
        raise NotFound(f"There is no version {version_id} of this container.")
    return found


def page(db: Database, account_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    wanted = {"account": account_id, "after": after, "limit": limit}
    return rows(db, PAGE_UP if ascending else PAGE_DOWN, wanted)


def versions(db: Database, container_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, VERSIONS_UP if ascending else VERSIONS_DOWN, (container_id, after, limit))


def choose(db: Database, account_id: str, container_id: str | None, version_id: str | None) -> Row:
    """The version for an agent: the named one, else the container's current one. Raises Invalid."""
    found = row(
        db,
        "SELECT version.*, container.archived_at FROM container_versions AS version"
        " JOIN containers AS container ON container.id = version.container_id"
        " WHERE (container.account_id = :account OR container.account_id IS NULL)"
        " AND (:container IS NULL OR (container.id = :container AND NOT container.hidden))"
        " AND (:version IS NULL OR version.id = :version) ORDER BY version.number DESC LIMIT 1",
        {"account": account_id, "container": container_id, "version": version_id},
    )
    field = "containerId" if version_id is None else "containerVersionId"
    if found is None:
        raise Invalid.field(field, "no such container")
    if found["archived_at"] is not None:
        raise Invalid.field(field, "is archived")
    return found


# Writing


def create(db: Database, account_id: str, body: schemas.CreateContainerRequest, now: datetime) -> Row:
    preset = body.container_preset or (None if body.container_image else "coding")
    with db.atomic():
        id = _insert(db, account_id, body.name, body.description or "", hidden=False, now=now)
        add_version(db, id, preset, body.container_image, json.dumps(body.writable_paths or []), now)
        return owned(db, account_id, id)


def update(
    db: Database, account_id: str, container_id: str, body: schemas.UpdateContainerRequest, now: datetime
) -> Row:
    """Changes the container. Another preset, image or list of paths adds a version; a name does not."""
    with db.atomic():
        container = custom(db, account_id, container_id)
        if container["archived_at"] is not None:
            raise Conflict("An archived container can't be changed. Make a new one.")
        _rename(db, container, body.name, body.description)
        newest = current(db, container_id)
        preset, image = body.container_preset, body.container_image
        before = newest["preset"], newest["image"], newest["writable_paths"]
        if not preset and not image:
            preset, image = newest["preset"], newest["image"]
        paths = newest["writable_paths"] if body.writable_paths is None else json.dumps(body.writable_paths)
        if (preset, image, paths) != before:
            add_version(db, container_id, preset, image, paths, now)
        return owned(db, account_id, container_id)


def _rename(db: Database, container: Row, name: str | None, description: str | None) -> None:
    db.conn.execute(
        "UPDATE containers SET name = coalesce(?, name), description = coalesce(?, description) WHERE id = ?",
        (name, description, container["id"]),
    )


def archive(db: Database, account_id: str, container_id: str, now: datetime) -> None:
    """Archives the container. Does nothing if it is archived."""
    with db.atomic():
        custom(db, account_id, container_id)
        db.conn.execute(
            "UPDATE containers SET archived_at = ? WHERE id = ? AND archived_at IS NULL", (iso(now), container_id)
        )


def fork(db: Database, account_id: str, container_id: str, body: schemas.ForkResourceRequest, now: datetime) -> Row:
    """Copies a standard container into the account. Raises NotFound for other containers."""
    with db.atomic():
        origin = owned(db, account_id, container_id)
        if origin["account_id"] is not None:
            raise NotFound("Only standard containers can be forked.")
        newest = current(db, container_id)
        description = origin["description"] if body.description is None else body.description
        id = _insert(db, account_id, body.name or origin["name"], description, hidden=False, now=now)
        add_version(db, id, newest["preset"], newest["image"], newest["writable_paths"], now)
        return owned(db, account_id, id)


def for_image(
    db: Database, account_id: str, name: str, runtime: schemas.AgentImage, before: str | None, now: datetime
) -> str:
    """The id of a container version for an agent's `runtime`.

    `before`: the agent's present version, which is returned if it has the same image and paths. Otherwise adds a
    version to a container that belongs to the agent and is not listed.
    """
    image, paths = runtime.container_image, json.dumps(runtime.writable_paths or [])
    old = row(
        db,
        "SELECT version.*, container.hidden FROM container_versions AS version"
        " JOIN containers AS container ON container.id = version.container_id WHERE version.id = ?",
        (before,),
    )
    if old is not None and (old["image"], old["writable_paths"]) == (image, paths):
        return str(old["id"])
    if old is not None and old["hidden"]:
        return add_version(db, old["container_id"], None, image, paths, now)
    id = _insert(db, account_id, name, "", hidden=True, now=now)
    return add_version(db, id, None, image, paths, now)


def _insert(db: Database, account_id: str, name: str, description: str, hidden: bool, now: datetime) -> str:
    id = db.ids.new("ctr")
    db.conn.execute(
        "INSERT INTO containers (id, account_id, name, description, hidden, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (id, account_id, name, description, hidden, iso(now)),
    )
    return id


def add_version(
    db: Database, container_id: str, preset: str | None, image: str | None, writable_paths: str, now: datetime
) -> str:
    id = db.ids.new("ctrv", container_id)
    db.conn.execute(
        "INSERT INTO container_versions (id, container_id, number, preset, image, writable_paths, created_at)"
        " SELECT ?, ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? FROM container_versions WHERE container_id = ?",
        (id, container_id, preset, image, writable_paths, iso(now), container_id),
    )
    return id


# In the API


def shape(db: Database, container: Row) -> schemas.Container:
    return schemas.Container(
        id=container["id"],
        name=container["name"],
        description=container["description"],
        is_standard=container["account_id"] is None,
        archived_at=container["archived_at"],
        current_version=version_shape(current(db, container["id"])),
        created_at=container["created_at"],
    )


def version_shape(version: Row) -> schemas.ContainerVersion:
    return schemas.ContainerVersion(
        id=version["id"],
        number=version["number"],
        container_preset=version["preset"],
        container_image=version["image"],
        writable_paths=json.loads(version["writable_paths"]),
        container_contract_version=version["contract_version"],
        created_at=version["created_at"],
    )
