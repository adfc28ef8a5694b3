"""The files that a task was given, as its guest fetches them."""

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from agentcontainer_local import crash, files, tasks, workspace
from agentcontainer_local.errors import NotFound
from agentcontainer_local.guest.door import Door


async def give_input(request: Request) -> Response:
    door: Door = request.scope["door"]
    name = request.path_params["name"]
    crash.point("input.asked")
    for item in workspace.inputs(door.host.db, tasks.get(door.host.db, door.task_id)):
        if item.name == name:
            if item.file is None:
                return Response(item.text, media_type="text/markdown")
            return FileResponse(files.path(door.host.files, name), media_type="application/octet-stream")
    missing = NotFound(f"This task has no input {name}.")
    return JSONResponse(missing.body(), missing.status)
