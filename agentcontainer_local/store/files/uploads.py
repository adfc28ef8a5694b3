"""Uploads: prepared first, then received, then completed into a file."""

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, Invalid, NotFound
from agentcontainer_local.store import accounts
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, Row, is_busy, iso, parse_iso, row, rows, single
from agentcontainer_local.store.files import disk
from agentcontainer_local.store.files.rows import DEFAULT_TYPE, add

GRACE = timedelta(hours=1)  # after an upload's expiry, before its content is removed


def prepare(
    db: Database, account_id: str, body: schemas.PrepareUploadRequest, open_for: timedelta, now: datetime
) -> Row:
    id = db.ids.new("upl")
    with db.atomic():
        db.conn.execute(
            "INSERT INTO uploads (id, account_id, filename, content_type, size_bytes, expires_at, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                account_id,
                body.filename,
                body.content_type or DEFAULT_TYPE,
                body.size_bytes,
                iso(now + open_for),
                iso(now),
            ),
        )
        return _get(db, id)


def waiting(db: Database, upload_id: str, now: datetime) -> Row:
    """An upload that can still receive content. Everybody with its signed URL may send. Raises NotFound or Conflict."""
    upload = _get(db, upload_id)
    if upload["file_id"] is not None:
        raise Conflict("This upload is already complete. Prepare a new one.")
    if parse_iso(upload["expires_at"]) <= now:
        raise Conflict("This upload has expired. Prepare a new one.")
    return upload


def fill(context: Context, upload_id: str, incoming: disk.Incoming) -> list[str]:
    """Assigns the received content to the upload, replacing earlier content: clients repeat requests when in doubt.

    Returns the names of the earlier content. The caller discards it once this transaction is on disk: until then a loss
    of power would restore the row that names it. The new content is removed if the upload was completed meanwhile, or
    if its size is not the announced one.
    """
    db, now = context.db, context.now()
    try:
        with db.atomic():
            upload = waiting(db, upload_id, now)
            check_size(upload, incoming.size)
            accounts.check_file_quota(db, upload["account_id"], incoming.size, context.settings)
            db.conn.execute(
                "UPDATE uploads SET storage_id = ?, received_bytes = ?, sha256 = ? WHERE id = ?",
                (incoming.name, incoming.size, incoming.sha256, upload_id),
            )
    except BaseException as error:
        if not (isinstance(error, sqlite3.OperationalError) and is_busy(error)):  # then the caller tries again
            disk.discard(context.files, [incoming.name])
        raise
    return [] if upload["storage_id"] is None else [upload["storage_id"]]


def check_size(upload: Row, size: int) -> None:
    if upload["size_bytes"] not in (None, size):
        raise Invalid.field("sizeBytes", f"{upload['size_bytes']} bytes were announced, but {size} arrived")


def complete(db: Database, account_id: str, body: schemas.CompleteUploadRequest, now: datetime) -> Row:
    """The file's row. Completing an upload again returns the same row. Raises NotFound, Conflict or Invalid."""
    with db.atomic():
        upload = _get(db, body.upload_id)
        if upload["account_id"] != account_id:
            raise _missing(body.upload_id)
        if upload["storage_id"] is None:
            raise Conflict("The upload has no content yet. Send the bytes to the uploadUrl first.")
        if body.storage_id not in (None, upload["storage_id"]):
            raise Invalid.field("storageId", "must be the storageId from the answer to the upload")
        if upload["file_id"] is None:
            add(
                db,
                account_id,
                upload["filename"],
                upload["content_type"],
                upload["storage_id"],
                upload["received_bytes"],
                upload["sha256"],
                now,
            )
            db.conn.execute("UPDATE uploads SET file_id = storage_id WHERE id = ?", (upload["id"],))
        return single(db, "SELECT * FROM files WHERE id = ?", (upload["storage_id"],))


def forget_expired(db: Database, root: Path, now: datetime) -> None:
    """Removes expired uploads that were not completed, with their content."""
    with db.atomic():
        gone = rows(
            db, "DELETE FROM uploads WHERE file_id IS NULL AND expires_at < ? RETURNING storage_id", (iso(now - GRACE),)
        )
    disk.discard(root, (upload["storage_id"] for upload in gone if upload["storage_id"] is not None))


def _get(db: Database, upload_id: str) -> Row:
    upload = row(db, "SELECT * FROM uploads WHERE id = ?", (upload_id,))
    if upload is None:
        raise _missing(upload_id)
    return upload


def _missing(upload_id: str) -> NotFound:
    return NotFound(f"There is no upload {upload_id}.")


def shape(upload: Row, url: str) -> schemas.PreparedUpload:
    return schemas.PreparedUpload(
        upload_id=upload["id"],
        upload_url=url,
        method="PUT",
        headers={"content-type": upload["content_type"]},
        expires_at=upload["expires_at"],
    )
