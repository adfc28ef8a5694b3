"""Tasks that one talks with, and waking those that sleep."""

from agentcontainer_local import schemas
from agentcontainer_local.api import events
from agentcontainer_local.api.tasks import DISPATCH
from agentcontainer_local.errors import Conflict, NotFound, ProviderKeyMissing, Unavailable
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.store import tasks, transcript
from agentcontainer_local.store.rows import Message, Task


def create_conversation(call: Call) -> schemas.TaskAndMessage:
    """Begins a conversation: `instructions` hold for all of it, `message` is its first turn."""
    host = call.host
    host.check_room()
    task = tasks.dispatch(host.context, call.account, call.param("agentId"), call.body)
    return _said(call, task, transcript.of_turn(host.db, task["id"], 1)[0])


def create_message(call: Call) -> schemas.TaskAndMessage:
    """A follow-up. While a turn runs it is `queued`, and taken after it."""
    host, body = call.host, call.body
    host.check_room()
    task, message = tasks.say(
        host.context,
        call.account["id"],
        call.param("taskId"),
        body.content,
        body.input_ids(),
        body.overrides,
    )
    return _said(call, task, message)


def _said(call: Call, task: Task, message: Message) -> schemas.TaskAndMessage:
    return schemas.TaskAndMessage(
        task=tasks.shape(call.host.db, task, call.now), message=tasks.message_shape(call.host.db, message)
    )


def wake_task(call: Call) -> schemas.Task:
    """Wakes a task that hibernates. With `wakeDueId`, only if it is still that sleep."""
    host, body = call.host, call.body
    task = tasks.wake(
        host.context,
        call.account["id"],
        call.param("taskId"),
        body.kind,
        body.message,
        body.wake_due_id,
        body.overrides,
    )
    return tasks.shape(host.db, task, call.now)


def update_task(call: Call) -> schemas.Task:
    """Renames a task; `mode: autonomous` lets a conversation go on by itself to its end."""
    host, body = call.host, call.body
    with host.db.atomic():
        task = tasks.owned(host.db, call.account["id"], call.param("taskId"))
        if body.title is not None:
            tasks.rename(host.db, task["id"], body.title)
        if body.mode is not None:
            tasks.switch(host.db, call.account["id"], task["id"], call.now)
    return tasks.shape(host.db, tasks.get(host.db, task["id"]), call.now)


TAG = "Conversations"
EXAMPLE = {"instructions": "You help to clean up a data set.", "message": "What is in the uploaded file?"}
ROUTES = [
    Route(
        "POST",
        "/agents/{agentId}/conversations",
        create_conversation,
        "Create conversation",
        TAG,
        schemas.TaskAndMessage,
        201,
        schemas.CreateConversationRequest,
        replayable=True,
        example=EXAMPLE,
        errors=DISPATCH,
    ),
    Route(
        "POST",
        "/conversations/{taskId}/messages",
        create_message,
        "Send message",
        TAG,
        schemas.TaskAndMessage,
        201,
        schemas.CreateMessageRequest,
        replayable=True,
        errors=(NotFound, Conflict, ProviderKeyMissing, Unavailable),
    ),
    *events.routes("/conversations/{taskId}", TAG),
    Route(
        "POST",
        "/tasks/{taskId}/wake",
        wake_task,
        "Wake task",
        "Tasks",
        schemas.Task,
        200,
        schemas.WakeRequest,
        replayable=True,
        errors=(NotFound, Conflict, ProviderKeyMissing),
    ),
    Route(
        "PATCH",
        "/tasks/{taskId}",
        update_task,
        "Update task",
        "Tasks",
        schemas.Task,
        200,
        schemas.UpdateTaskRequest,
        errors=(NotFound, Conflict),
        extension=True,
    ),
]
