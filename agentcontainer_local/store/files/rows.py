"""Rows of files."""

import sqlite3
from datetime import datetime

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, Invalid, NotFound
from agentcontainer_local.store.db import Database, Row, iso, row, rows, single

DEFAULT_TYPE = "application/octet-stream"
PAGE_UP = "SELECT * FROM files WHERE account_id = ? AND number > ? ORDER BY number LIMIT ?"
PAGE_DOWN = "SELECT * FROM files WHERE account_id = ? AND number < ? ORDER BY number DESC LIMIT ?"


def add(
    db: Database,
    account_id: str,
    filename: str,
    content_type: str | None,
    name: str,
    size: int,
    sha256: str,
    now: datetime,
) -> Row:
    """Adds the row of a file whose content is stored under `name`. The name becomes the file's id."""
    db.conn.execute(
        "INSERT INTO files (id, account_id, filename, content_type, size_bytes, sha256, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (name, account_id, filename, content_type or DEFAULT_TYPE, size, sha256, iso(now)),
    )
    return single(db, "SELECT * FROM files WHERE id = ?", (name,))


def one(db: Database, account_id: str, file_id: str) -> Row:
    found = row(db, "SELECT * FROM files WHERE id = ? AND account_id = ?", (file_id, account_id))
    if found is None:
        raise NotFound(f"There is no file {file_id}.")
    return found


def owned(db: Database, account_id: str, ids: list[str], field: str = "inputFileIds") -> list[Row]:
    """The account's files with these ids, in this order. Raises Invalid, naming ids that do not exist."""
    found = [row(db, "SELECT * FROM files WHERE id = ? AND account_id = ?", (id, account_id)) for id in ids]
    missing = [id for id, file in zip(ids, found, strict=True) if file is None]
    if missing:
        named = ", ".join(missing[:10])
        raise Invalid(
            f"{field}: there is no file {named}",
            [{"field": field, "message": f"there is no file {id}"} for id in missing[:10]],
        )
    return [file for file in found if file is not None]


def page(db: Database, account_id: str, limit: int, after: int, ascending: bool) -> list[Row]:
    return rows(db, PAGE_UP if ascending else PAGE_DOWN, (account_id, after, limit))


def delete(db: Database, account_id: str, file_id: str) -> None:
    """Deletes the row. The caller removes the content afterwards. Raises Conflict if the file is in use."""
    try:
        with db.atomic():
            one(db, account_id, file_id)
            db.conn.execute("DELETE FROM files WHERE id = ?", (file_id,))
    except sqlite3.IntegrityError:
        raise Conflict("A task or an agent version uses this file, so it can't be deleted.") from None


def shape(file: Row) -> schemas.File:
    return schemas.File(
        id=file["id"],
        filename=file["filename"],
        content_type=file["content_type"],
        size_bytes=file["size_bytes"],
        created_at=file["created_at"],
    )
