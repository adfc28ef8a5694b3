"""The input files of a task, for its guest."""

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from agentcontainer_local.errors import NotFound, Problem
from agentcontainer_local.guest.door import Door
from agentcontainer_local.pi import workspace
from agentcontainer_local.process import failpoints
from agentcontainer_local.store import files, tasks
from agentcontainer_local.store.db import Row

GONE = 410  # the guest retries after a 5xx, and ends the task after this


async def give_input(request: Request) -> Response:
    door: Door = request.scope["door"]
    name, db = request.path_params["name"], door.host.db
    task = tasks.get(db, door.task_id)
    failpoints.point("input.asked")
    if (file := workspace.given_file(db, task, name)) is not None:
        return await _bytes_of(door, file)
    if (text := workspace.document(db, task, name)) is not None:
        return Response(text, media_type="text/markdown")
    missing = NotFound(f"This task has no input {name}.")
    return JSONResponse(missing.body(), missing.status)


async def _bytes_of(door: Door, file: Row) -> Response:
    place, kind = files.path(door.host.files, file["id"]), "application/octet-stream"
    try:
        if await files.checked.require(file, place):
            return FileResponse(place, media_type=kind)
    except Problem as damaged:
        return JSONResponse(damaged.body(), GONE)
    headers = {"content-length": str(file["size_bytes"])}
    return StreamingResponse(files.checked.chunks(file, place), media_type=kind, headers=headers)
