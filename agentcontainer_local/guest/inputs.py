"""The files that a task was given, as its guest fetches them."""

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from agentcontainer_local import crash, files, tasks, workspace
from agentcontainer_local.errors import NotFound
from agentcontainer_local.guest.door import Door


async def give_input(request: Request) -> Response:
    door: Door = request.scope["door"]
    name, db = request.path_params["name"], door.host.db
    task = tasks.get(db, door.task_id)
    crash.point("input.asked")
    if workspace.is_given(db, task, name):
        return FileResponse(files.path(door.host.files, name), media_type="application/octet-stream")
    if (text := workspace.document(db, task, name)) is not None:
        return Response(text, media_type="text/markdown")
    missing = NotFound(f"This task has no input {name}.")
    return JSONResponse(missing.body(), missing.status)
