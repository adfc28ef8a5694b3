"""Task dispatch and task inspection."""

from collections.abc import Iterator

from starlette.responses import Response

from agentcontainer_local import lifecycle, schemas
from agentcontainer_local.api.archives import archive
from agentcontainer_local.errors import (
    Conflict,
    InsufficientCredits,
    NotFound,
    ProviderKeyMissing,
    RangeNotSatisfiable,
    TooManyPending,
    Unavailable,
    Unsupported,
)
from agentcontainer_local.http import downloads
from agentcontainer_local.http.downloads import BYTES, download
from agentcontainer_local.http.pagination import joined, page
from agentcontainer_local.http.routing import Call, Route, json_of
from agentcontainer_local.store import agents, files, tasks
from agentcontainer_local.store.db import ALL, Row
from agentcontainer_local.store.rows import Task


def list_agent_tasks(call: Call) -> bytes:
    """Lists the tasks of one agent."""
    agent = agents.owned(call.host.db, call.account["id"], call.param("agentId"))
    return _page(call, agent["id"])


def list_tasks(call: Call) -> bytes:
    """Lists the tasks of all agents."""
    return _page(call, None)


def _page(call: Call, agent_id: str | None) -> bytes:
    query = call.query
    found = tasks.page(
        call.host.db, call.account["id"], agent_id=agent_id, status=query.status, search=query.search, **call.cut.asked
    )
    return joined(call.cut, _answers(call, found))


def _answers(call: Call, found: list[tuple[int, str]]) -> Iterator[tuple[int, bytes]]:
    """Each behind its task's number, one by one: what the page has no room for is not read."""
    host = call.host
    kept = host.answers.of(host.db, call.account["id"], [id for _, id in found])
    missing = [id for _, id in found if id not in kept]
    used = tasks.token_usages(host.db, missing) if missing else {}
    others = tasks.each_whole(host.db, missing)
    for number, id in found:
        answer = kept.get(id)
        if answer is None:
            task = next(others)
            answer = _written(call, task, _shape(call, task, used[id]))
        yield number, answer


def _written(call: Call, task: Task, shape: schemas.Task) -> bytes:
    answer = json_of(shape)
    if task["status"] in lifecycle.TERMINAL and shape.model_call is None:
        call.host.answers.keep(call.host.db, task["account_id"], task["id"], answer)
    return answer


def create_task(call: Call) -> schemas.Task:
    """Dispatches a task to an agent. If `versionId` is omitted, the current agent version is used."""
    host = call.host
    host.check_room()
    task = tasks.dispatch(host.context, call.account, call.param("agentId"), call.body)
    return _shape(call, task)


def get_task(call: Call) -> bytes:
    """Returns the task as it is now: its status, and its result or error once it has ended."""
    host, account_id, id = call.host, call.account["id"], call.param("taskId")
    if (answer := host.answers.get(host.db, account_id, id)) is not None:
        return answer
    task = tasks.owned_whole(host.db, account_id, id)
    return _written(call, task, _shape(call, task))


def cancel_task(call: Call) -> schemas.Task:
    """Cancels a task and stops its container. A task that is cancelled already is returned as it is."""
    call.host.keep_words(call.param("taskId"))
    task = tasks.cancel(call.host.db, call.account["id"], call.param("taskId"), call.now)
    return _shape(call, task)


def list_task_files(call: Call) -> schemas.ListTaskFilesResponse:
    """Lists the files that the agent declared when it called `finish`."""
    found = tasks.outputs(call.host.db, _owned(call)["id"], **call.cut.asked)
    return page(schemas.ListTaskFilesResponse, call.cut, found, _output)


def _output(file: Row) -> schemas.TaskFile:
    return schemas.TaskFile(**files.shape(file).model_dump(by_alias=False), output_name=file["output_name"])


async def download_task_file(call: Call) -> Response:
    """Downloads a file that the task handed over."""
    file = tasks.output(call.host.db, _owned(call)["id"], call.param("fileId"))
    return await download(call.request, file, files.path(call.host.files, file["id"]))


def download_task_files(call: Call) -> Response:
    """All files of the task as one ZIP archive."""
    task = _owned(call)
    found = tasks.outputs(call.host.db, task["id"], limit=ALL, after=0, ascending=True)
    if not found:
        raise NotFound("The task has no output files.")
    placed = [(file, files.path(call.host.files, file["id"])) for file in found]
    return archive(call.request, f"{task['id']}.zip", placed)


def list_model_calls(call: Call) -> schemas.ListModelCallsResponse:
    """Lists what each model call of the task used and what it cost. The task's `tokenUsage` has the sums."""
    found = tasks.calls(call.host.db, _owned(call)["id"], **call.cut.asked)
    return page(schemas.ListModelCallsResponse, call.cut, found, tasks.call_shape)


def _owned(call: Call) -> Task:
    return tasks.owned(call.host.db, call.account["id"], call.param("taskId"))


def _shape(call: Call, task: Task, used: schemas.TokenUsage | None = None) -> schemas.Task:
    shape = tasks.shape(call.host.db, task, call.now, used)
    if (calling := call.host.calling.get(shape.id)) is not None:
        shape.model_call = schemas.CurrentModelCall(**calling.facts())
    if shape.status == lifecycle.PENDING:
        shape.preparing = call.host.preparing.of(shape.id)
    return shape


TAG = "Tasks"
ONE = "/tasks/{taskId}"
DISPATCH = (InsufficientCredits, NotFound, Conflict, ProviderKeyMissing, Unsupported, TooManyPending, Unavailable)
ARCHIVE = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
EXAMPLE = {
    "instructions": "Analyze the CSV file and produce a summary report in Markdown.",
    "inputFileIds": ["file_ghi789"],
    "metadata": {"ticket": "A-17"},
    "overrides": {"maxRuntimeSeconds": 1800, "outputPolicy": {"mode": "at_least_one"}},
}
ROUTES = [
    Route("GET", ONE, get_task, "Get task", TAG, schemas.Task, errors=(NotFound,)),
    Route(
        "GET",
        "/agents/{agentId}/tasks",
        list_agent_tasks,
        "List tasks for agent",
        TAG,
        schemas.ListTasksResponse,
        query=schemas.TaskPageQuery,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        "/agents/{agentId}/tasks",
        create_task,
        "Dispatch task",
        TAG,
        schemas.Task,
        201,
        schemas.CreateTaskRequest,
        replayable=True,
        example=EXAMPLE,
        errors=DISPATCH,
    ),
    Route(
        "GET",
        "/tasks",
        list_tasks,
        "List tasks",
        TAG,
        schemas.ListTasksResponse,
        query=schemas.TaskPageQuery,
        extension=True,
    ),
    Route("POST", ONE + "/cancel", cancel_task, "Cancel task", TAG, schemas.Task, errors=(NotFound, Conflict)),
    Route(
        "GET",
        ONE + "/files",
        list_task_files,
        "List task files",
        TAG,
        schemas.ListTaskFilesResponse,
        query=schemas.TaskFilesQuery,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        ONE + "/files/{fileId}",
        download_task_file,
        "Download task file",
        TAG,
        raw=True,
        content=BYTES,
        headers=downloads.HEADERS,
        also=downloads.ALSO,
        errors=(NotFound, RangeNotSatisfiable),
    ),
    Route(
        "GET",
        ONE + "/files.zip",
        download_task_files,
        "Download all task files",
        TAG,
        raw=True,
        content=ARCHIVE,
        errors=(NotFound,),
        extension=True,
    ),
    Route(
        "GET",
        ONE + "/model-calls",
        list_model_calls,
        "List model calls",
        TAG,
        schemas.ListModelCallsResponse,
        query=schemas.PageQuery,
        errors=(NotFound,),
        extension=True,
    ),
]
