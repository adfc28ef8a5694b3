"""Uploads and stored files."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from starlette.responses import Response

from agentcontainer_local import schemas
from agentcontainer_local.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    RangeNotSatisfiable,
    TooLarge,
    Unavailable,
)
from agentcontainer_local.http import downloads, multipart
from agentcontainer_local.http.downloads import BYTES, download
from agentcontainer_local.http.pagination import page
from agentcontainer_local.http.routing import PREFIX, Call, Route
from agentcontainer_local.store import accounts, files
from agentcontainer_local.store.db import Row


def prepare_upload(call: Call) -> schemas.PreparedUpload:
    """Creates a scoped upload session and returns an upload URL, to which the bytes are sent by PUT (raw), or by POST
    (raw, or multipart with a field `file`), which answers a `storageId`."""
    call.host.check_room()
    settings, size = call.host.settings, call.body.size_bytes or 0
    if size > settings.max_file_bytes:
        raise TooLarge(f"A file may have at most {settings.max_file_bytes} bytes.")
    accounts.check_file_quota(call.host.db, call.account["id"], size, settings)
    upload = files.uploads.prepare(
        call.host.db, call.account["id"], call.body, timedelta(seconds=settings.upload_ttl_seconds), call.now
    )
    return files.uploads.shape(upload, _upload_url(call, upload["id"]))


def _upload_url(call: Call, upload_id: str) -> str:
    base = call.host.settings.public_url or f"{call.request.url.scheme}://{call.request.url.netloc}"
    return f"{base.rstrip('/')}{PREFIX}/uploads/{upload_id}/content?signature={call.host.vault.sign(upload_id)}"


async def put_upload(call: Call) -> Response:
    """Receives the bytes as the request's body, whatever its content type. The signature in the URL is the permission.
    A second PUT before `complete` replaces the bytes."""
    return await _receive(call)


async def post_upload(call: Call) -> Response:
    """Receives the bytes as the request's body, or as the field `file` of a form. The signature in the URL is the
    permission. `complete` takes the `storageId` that this answers."""
    return await _receive(call)


async def _receive(call: Call) -> Response:
    upload_id = call.param("uploadId")
    if not call.host.vault.signed(upload_id, call.query.signature):
        raise Forbidden("The upload URL's signature is wrong. Use the uploadUrl unchanged.")
    upload = files.uploads.waiting(call.host.db, upload_id, call.now)
    with call.host.arriving.counting(call.host.db, upload["account_id"], call.host.settings) as count:
        incoming = await _received(call, upload, count)
        host = call.host
        replaced = await host.db.waited(lambda: files.uploads.fill(host.context, upload_id, incoming))
        await asyncio.to_thread(files.discard, host.files, replaced)
    stored = schemas.StoredUpload(storage_id=incoming.name)
    return Response(stored.model_dump_json(), media_type="application/json")


async def _received(call: Call, upload: Row, count: Callable[[int], None]) -> files.Incoming:
    request, most = call.request, call.host.settings.max_file_bytes
    parted = request.method == "POST" and multipart.is_multipart(request)
    if not parted:
        _check_announced(call, upload)
    async with files.receiving(call.host.files, call.host.db.ids.new("file", upload["id"]), most, count) as incoming:
        async for chunk in multipart.field(request, "file") if parted else request.stream():
            await incoming.write(chunk)
        await incoming.flush()
        files.uploads.check_size(upload, incoming.size)  # before they are synced
    return incoming


def _check_announced(call: Call, upload: Row) -> None:
    """Before any byte is read: what Content-Length says."""
    announced, settings = call.request.headers.get("content-length", ""), call.host.settings
    if announced.isdecimal():
        files.uploads.check_size(upload, int(announced))
        if int(announced) > settings.max_file_bytes:
            raise TooLarge(f"A file may have at most {settings.max_file_bytes} bytes.")
        accounts.check_file_quota(call.host.db, upload["account_id"], int(announced), settings)


def complete_upload(call: Call) -> schemas.UploadedFile:
    """Finalizes a previously prepared upload after its bytes have been sent. Completing it again answers the same."""
    file = files.uploads.complete(call.host.db, call.account["id"], call.body, call.now)
    return schemas.UploadedFile(**files.shape(file).model_dump(by_alias=False), file_id=file["id"])


def list_files(call: Call) -> schemas.ListFilesResponse:
    """Lists your uploaded files, and the files that your tasks produced."""
    found = files.page(call.host.db, call.account["id"], **call.cut.asked)
    return page(schemas.ListFilesResponse, call.cut, found, files.shape)


def get_file(call: Call) -> schemas.File:
    """What is known of a file, without its bytes."""
    return files.shape(_owned(call))


async def download_file(call: Call) -> Response:
    """Downloads the bytes of a file."""
    file = _owned(call)
    return await download(call.request, file, files.path(call.host.files, file["id"]))


async def delete_file(call: Call) -> None:
    """Deletes a file, unless a task or an agent version needs it."""
    file_id = _owned(call)["id"]
    files.delete(call.host.db, call.account["id"], file_id)
    await asyncio.to_thread(files.discard, call.host.files, [file_id])


def _owned(call: Call) -> Row:
    return files.one(call.host.db, call.account["id"], call.param("fileId"))


TAG = "Files"
ANY = {"*/*": BYTES["application/octet-stream"]}
STORED = {"application/json": {"schema": {"$ref": "#/components/schemas/StoredUpload"}}}
UPLOAD_ERRORS = (Conflict, Forbidden, Invalid, NotFound, TooLarge, Unavailable)
ROUTES = [
    Route(
        "POST",
        "/uploads/prepare",
        prepare_upload,
        "Prepare file upload",
        TAG,
        schemas.PreparedUpload,
        201,
        schemas.PrepareUploadRequest,
        replayable=True,
        replay_extension=True,
        errors=(TooLarge, Unavailable),
        example={"filename": "sales_data.csv", "contentType": "text/csv"},
    ),
    Route(
        "PUT",
        "/uploads/{uploadId}/content",
        put_upload,
        "Send file bytes",
        TAG,
        schemas.StoredUpload,
        open=True,
        raw=True,
        content=STORED,
        sends={**BYTES, **ANY},
        errors=UPLOAD_ERRORS,
        query=schemas.UploadQuery,
    ),
    Route(
        "POST",
        "/uploads/{uploadId}/content",
        post_upload,
        "Send file bytes by POST",
        TAG,
        schemas.StoredUpload,
        open=True,
        raw=True,
        content=STORED,
        sends={**multipart.SENDS, **ANY},
        errors=(BadRequest, *UPLOAD_ERRORS),
        query=schemas.UploadQuery,
    ),
    Route(
        "POST",
        "/uploads/complete",
        complete_upload,
        "Complete file upload",
        TAG,
        schemas.UploadedFile,
        201,
        schemas.CompleteUploadRequest,
        replayable=True,
        replay_extension=True,
        errors=(NotFound, Conflict, TooLarge),
        example={"uploadId": "upl_abc123"},
    ),
    Route(
        "GET",
        "/files",
        list_files,
        "List files",
        TAG,
        schemas.ListFilesResponse,
        query=schemas.PageQuery,
        extension=True,
    ),
    Route(
        "GET",
        "/files/{fileId}",
        get_file,
        "Get file",
        TAG,
        schemas.File,
        errors=(NotFound,),
        extension=True,
    ),
    Route(
        "DELETE",
        "/files/{fileId}",
        delete_file,
        "Delete file",
        TAG,
        status=204,
        errors=(NotFound, Conflict),
        extension=True,
    ),
    Route(
        "GET",
        "/files/{fileId}/content",
        download_file,
        "Download file",
        TAG,
        raw=True,
        content=BYTES,
        headers=downloads.HEADERS,
        also=downloads.ALSO,
        errors=(NotFound, RangeNotSatisfiable),
        extension=True,
    ),
]
