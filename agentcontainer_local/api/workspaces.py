"""The workspace of a task that has ended, as long as it is kept: listed, and downloaded."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, NotFound
from agentcontainer_local.http.downloads import BYTES, disposition
from agentcontainer_local.http.pagination import cut_of, page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.lifecycle import TERMINAL
from agentcontainer_local.sandbox import archives
from agentcontainer_local.sandbox.backend import Archive, Exports
from agentcontainer_local.store import tasks
from agentcontainer_local.store.db import Row

HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox", "cache-control": "no-store"}

T = TypeVar("T")


async def list_workspace(call: Call) -> schemas.ListWorkspaceResponse:
    """Lists the files that the agent left behind, directories and links included.

    The workspace of a failed task is kept for one day by default (`--failed-workspace-retention-seconds`), and goes
    earlier when the disk is nearly full. That of any other ended task is kept if the server is told so
    (`--workspace-retention-seconds`).
    """
    cut = cut_of(call.query)
    found = await _read(call, archives.entries, cut.after, cut.limit + 1)
    rows: list[Row] = [
        {"number": cut.after + n, "path": entry.path, "entry": entry} for n, entry in enumerate(found, 1)
    ]
    return page(schemas.ListWorkspaceResponse, cut, rows, lambda row: _shape(row["entry"]))


async def download_workspace(call: Call) -> Response:
    """All files and directories as one tar archive. Links and special files are left out."""
    export = _export(call)
    name = f"workspace-{call.param('taskId')[-8:]}.tar"
    headers = {**HEADERS, "content-disposition": disposition(name)}
    return StreamingResponse(archives.repacked(export), media_type="application/x-tar", headers=headers)


async def download_workspace_file(call: Call) -> Response:
    """The bytes of one file, by the path that the list gives."""
    found = await _read(call, archives.content, call.query.path)
    if found is None:
        raise NotFound("No such file in the workspace. Use a path from the list.")
    size, pieces = found
    name = call.query.path.rpartition("/")[2]
    headers = {**HEADERS, "content-disposition": disposition(name), "content-length": str(size)}
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


async def _read(call: Call, reader: Callable[..., T], *arguments: Any) -> T:
    try:
        return await asyncio.to_thread(reader, _export(call), *arguments)
    except FileNotFoundError:
        raise _gone() from None


def _export(call: Call) -> Archive:
    task = tasks.owned(call.host.db, call.account["id"], call.param("taskId"))
    if task["status"] not in TERMINAL:
        raise Conflict("The task is still open. Its workspace can be read after its end.", status=task["status"])
    if task["has_container"]:
        raise Conflict("The task's container is being removed. Ask again in a second.", status=task["status"])
    if task["workspace_removed_at"] is not None or not isinstance(call.host.backend, Exports):
        raise _gone()
    return call.host.backend.export(task["id"], "workspace")


def _gone() -> NotFound:
    return NotFound(
        "The task's workspace has been deleted. `serve --workspace-retention-seconds` sets how long"
        " workspaces are kept."
    )


def _shape(entry: archives.Entry) -> schemas.WorkspaceEntry:
    return schemas.WorkspaceEntry(
        path=entry.path,
        type=entry.kind,
        size_bytes=entry.size_bytes,
        is_executable=entry.executable,
        modified_at=entry.modified_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


ONE = "/tasks/{taskId}/workspace"
ERRORS = (NotFound, Conflict)
ROUTES = [
    Route(
        "GET",
        ONE,
        list_workspace,
        "List workspace",
        "Tasks",
        schemas.ListWorkspaceResponse,
        query=schemas.WorkspaceQuery,
        errors=ERRORS,
        extension=True,
    ),
    Route(
        "GET",
        ONE + "/archive",
        download_workspace,
        "Download workspace",
        "Tasks",
        raw=True,
        content={"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        errors=ERRORS,
        extension=True,
    ),
    Route(
        "GET",
        ONE + "/content",
        download_workspace_file,
        "Download workspace file",
        "Tasks",
        raw=True,
        content=BYTES,
        query=schemas.WorkspaceFileQuery,
        errors=ERRORS,
        extension=True,
    ),
]
