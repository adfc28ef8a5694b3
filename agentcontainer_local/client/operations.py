"""Every operation of the API under its own name, for both clients: the one table of what they can do.

`get_task = Operation(...)` returns a value (or an awaitable of it), `list_tasks = Listing(...)` an iterator (or an
async one) that fetches page after page. A type checker reads them as descriptors; at run time `blocking` and `awaiting`
make functions of them, so that `help()` shows each with its parameters.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from pydantic import BaseModel

from agentcontainer_local import schemas
from agentcontainer_local.client import bodies, events, job, methods, requests, transfers
from agentcontainer_local.client.effects import Emit, Program, Request
from agentcontainer_local.client.requests import below, body_of, delete, get, send, send_once

if TYPE_CHECKING:
    from agentcontainer_local.client.clients import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
C = TypeVar("C", bound=type)
Item = TypeVar("Item", bound=BaseModel)
Order = Literal["asc", "desc"]
Body = BaseModel | Mapping[str, Any]
PAGE = 100


class Call(Generic[P, T_co]):
    """How an operation is called: with keywords, or with a whole request as the last argument."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    @overload
    def __call__(self, body: Body, /) -> T_co: ...
    @overload
    def __call__(self, id: str, body: Body, /) -> T_co: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Operation(Generic[P, T]):
    """A program that returns one value."""

    def __init__(self, program: Callable[P, Program[T]]):
        self.program = program

    @overload
    def __get__(self, client: "Client", owner: type) -> Call[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Call[P, Awaitable[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self


class Listing(Generic[P, T]):
    """A program that emits values, however many."""

    def __init__(self, program: Callable[P, Program[None]], of: type[T]):
        self.program = program
        self.of = of

    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        return self


def blocking(client: C) -> C:
    """Gives a class that can `_run` and `_iterate` programs a method for each operation."""
    for name, one in table().items():
        setattr(client, name, methods.blocking(client, name, one.program, getattr(one, "of", None)))
    return client


def awaiting(client: C) -> C:
    for name, one in table().items():
        setattr(client, name, methods.awaiting(client, name, one.program, getattr(one, "of", None)))
    return client


def table() -> dict[str, Operation[..., Any] | Listing[..., Any]]:
    return {name: one for name, one in vars(Operations).items() if isinstance(one, Operation | Listing)}


def paged(
    path: str,
    page: type[schemas.Page[Item]],
    order: Order,
    limit: int | None,
    default: Order = "desc",
    **query: Any,
) -> Program[None]:
    """Emits at most `limit` of a list, page after page; what is added meanwhile moves nothing.

    Only what differs from the server's default is sent: the hosted service has no `limit` and `order` for some lists.
    """
    left, cursor = limit, None
    sent = None if order == default else order
    while left is None or left > 0:
        size = None if left is None else min(left, PAGE)
        answer = yield from get(path, page, limit=size, cursor=cursor, order=sent, **query)
        for item in answer.data:
            yield Emit(item)
        left = None if left is None else left - len(answer.data)
        cursor = answer.page_info.next_cursor
        if cursor is None:
            return


# Account


def get_account() -> Program[schemas.Account]:
    """The account of this API key: billing, credit, stored files."""
    return get("/account", schemas.Account)


def get_doctor() -> Program[schemas.Doctor]:
    """What the server's machine has and lacks, and the result of the last test of its security promises."""
    return get("/doctor", schemas.Doctor)


def prove_walls() -> Program[schemas.Doctor]:
    """Test each security promise in containers of its own. Takes about ten seconds."""
    return send_once("POST", "/doctor", schemas.Doctor)


def get_budget() -> Program[schemas.AccountBudget]:
    """Limits of model calls in a month, and what this month's calls used."""
    return get("/account/budget", schemas.AccountBudget)


def set_budget(**fields: Unpack[bodies.Budget]) -> Program[schemas.AccountBudget]:
    """Set the limits of model calls in a month. What is not given has no limit."""
    return send("PUT", "/account/budget", schemas.AccountBudget, body_of(schemas.BudgetRequest, fields))


def get_credit() -> Program[schemas.Credit]:
    """The credit balance, and whether it counts."""
    return get("/credit", schemas.Credit)


def list_credit_entries(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """The entries that the credit balance is the sum of."""
    return paged("/credit/entries", schemas.ListCreditEntriesResponse, order, limit)


def add_credit(amount_usd: float) -> Program[schemas.Credit]:
    """Add credit. Returns the new balance."""
    return send("POST", "/credit", schemas.Credit, {"amountUsd": amount_usd})


def list_keys(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """The API keys, by name and last characters."""
    return paged("/keys", schemas.ListApiKeysResponse, order, limit)


def create_key(
    name: str, *, scope: Literal["all", "metrics"] | None = None, expires_in_seconds: int | None = None
) -> Program[schemas.CreatedApiKey]:
    """Make an API key. The answer's `key` is shown this once."""
    given = body_of(
        schemas.CreateKeyRequest,
        {
            "name": name,
            **({"scope": scope} if scope else {}),
            **({"expires_in_seconds": expires_in_seconds} if expires_in_seconds is not None else {}),
        },
    )
    return send_once("POST", "/keys", schemas.CreatedApiKey, given)


def revoke_key(key_id: str) -> Program[None]:
    """Revoke an API key. It stops working at once."""
    return delete("/keys" + below(key_id))


def list_providers() -> Program[None]:
    """The model providers: whether a key is set, and the address."""
    page = yield from get("/providers", schemas.ListProvidersResponse)
    for provider in page.data:
        yield Emit(provider)


def set_provider(provider: str, **fields: Unpack[bodies.UpdateProvider]) -> Program[schemas.ProviderStatus]:
    """Store a provider's API key or address, or make it the default."""
    given = body_of(schemas.UpdateProviderRequest, fields)
    return send("PUT", "/providers" + below(provider), schemas.ProviderStatus, given)


def remove_provider(provider: str) -> Program[None]:
    """Forget a provider's stored key and address. Those of the server's environment stay."""
    return delete("/providers" + below(provider))


# Containers


def list_containers(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """All containers, including the standard ones."""
    return paged("/containers", schemas.ListContainersResponse, order, limit)


def create_container(**fields: Unpack[bodies.CreateContainer]) -> Program[schemas.Container]:
    """Define a container from an image or a preset."""
    given = body_of(schemas.CreateContainerRequest, fields)
    return send("POST", "/containers", schemas.Container, given)


def get_container(container_id: str) -> Program[schemas.Container]:
    """One container, with its current version."""
    return get("/containers" + below(container_id), schemas.Container)


def update_container(container_id: str, **fields: Unpack[bodies.UpdateContainer]) -> Program[schemas.Container]:
    """Change a container. A new image makes a new version."""
    given = body_of(schemas.UpdateContainerRequest, fields)
    return send("PATCH", "/containers" + below(container_id), schemas.Container, given)


def archive_container(container_id: str) -> Program[None]:
    """Take a container out of use."""
    return delete("/containers" + below(container_id))


def fork_container(container_id: str, **fields: Unpack[bodies.ForkResource]) -> Program[schemas.Container]:
    """Copy a standard container, so that you can change it."""
    given = body_of(schemas.ForkResourceRequest, fields)
    return send("POST", "/containers" + below(container_id) + "/fork", schemas.Container, given)


def list_container_versions(container_id: str, *, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """The versions of a container."""
    path = "/containers" + below(container_id) + "/versions"
    return paged(path, schemas.ListContainerVersionsResponse, order, limit)


def get_container_version(container_id: str, version_id: str) -> Program[schemas.ContainerVersion]:
    """One version of a container."""
    return get("/containers" + below(container_id) + "/versions" + below(version_id), schemas.ContainerVersion)


# Agents


def list_agents(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """All agents, including the standard ones."""
    return paged("/agents", schemas.ListAgentsResponse, order, limit)


def create_agent(**fields: Unpack[bodies.CreateAgent]) -> Program[schemas.Agent]:
    """Define an agent."""
    return send("POST", "/agents", schemas.Agent, body_of(schemas.CreateAgentRequest, fields))


def get_agent(agent_id: str) -> Program[schemas.Agent]:
    """One agent, with its current version."""
    return get("/agents" + below(agent_id), schemas.Agent)


def update_agent(agent_id: str, **fields: Unpack[bodies.UpdateAgent]) -> Program[schemas.Agent]:
    """Change an agent. Another prompt, model, container or limit makes a new version."""
    given = body_of(schemas.UpdateAgentRequest, fields)
    return send("PATCH", "/agents" + below(agent_id), schemas.Agent, given)


def archive_agent(agent_id: str) -> Program[None]:
    """Take an agent out of use."""
    return delete("/agents" + below(agent_id))


def fork_agent(agent_id: str, **fields: Unpack[bodies.ForkResource]) -> Program[schemas.Agent]:
    """Copy a standard agent, so that you can change it."""
    given = body_of(schemas.ForkResourceRequest, fields)
    return send("POST", "/agents" + below(agent_id) + "/fork", schemas.Agent, given)


def list_agent_versions(agent_id: str, *, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """The versions of an agent."""
    return paged("/agents" + below(agent_id) + "/versions", schemas.ListAgentVersionsResponse, order, limit)


def get_agent_version(agent_id: str, version_id: str) -> Program[schemas.AgentVersion]:
    """One version of an agent."""
    return get("/agents" + below(agent_id) + "/versions" + below(version_id), schemas.AgentVersion)


def list_reference_files(agent_id: str, *, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """The files that each task of this agent gets."""
    return paged("/agents" + below(agent_id) + "/reference-files", schemas.ListFilesResponse, order, limit)


def attach_reference_files(agent_id: str, file_ids: list[str]) -> Program[schemas.Agent]:
    """Give the agent reference files. Makes a new version."""
    path = "/agents" + below(agent_id) + "/reference-files"
    return send("POST", path, schemas.Agent, {"fileIds": list(file_ids)})


def detach_reference_file(agent_id: str, file_id: str) -> Program[None]:
    """Take a reference file from the agent. Makes a new version."""
    return delete("/agents" + below(agent_id) + "/reference-files" + below(file_id))


# Files; how bytes go is in transfers


def list_files(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """All uploaded files and task outputs."""
    return paged("/files", schemas.ListFilesResponse, order, limit)


def get_file(file_id: str) -> Program[schemas.File]:
    """One file's name, size and type; not its bytes."""
    return get("/files" + below(file_id), schemas.File)


def delete_file(file_id: str) -> Program[None]:
    """Delete a file."""
    return delete("/files" + below(file_id))


def download_file(file_id: str, to: transfers.Target, *, progress: transfers.Progress | None = None) -> Program[None]:
    """Download a file, as the new file `to` or into a file object. A failed download leaves no file."""
    return transfers.download("/files" + below(file_id) + "/content", to, progress)


# Tasks


def list_tasks(
    *,
    agent_id: str | None = None,
    status: schemas.TaskStatus | None = None,
    order: Order = "desc",
    limit: int | None = None,
) -> Program[None]:
    """Tasks of one agent or of all, newest first."""
    path = "/tasks" if agent_id is None else "/agents" + below(agent_id) + "/tasks"
    return paged(path, schemas.ListTasksResponse, order, limit, status=status)


def create_task(agent_id: str, **fields: Unpack[bodies.CreateTask]) -> Program[schemas.Task]:
    """Dispatch a task. `run` does this and the rest of the job in one call."""
    given = body_of(schemas.CreateTaskRequest, fields)
    return send("POST", "/agents" + below(agent_id) + "/tasks", schemas.Task, given)


def get_task(task_id: str) -> Program[schemas.Task]:
    """One task, with its status, result and cost so far."""
    return get("/tasks" + below(task_id), schemas.Task)


def update_task(task_id: str, **fields: Unpack[bodies.UpdateTask]) -> Program[schemas.Task]:
    """Rename a task, or make a conversation autonomous."""
    given = body_of(schemas.UpdateTaskRequest, fields)
    return send("PATCH", "/tasks" + below(task_id), schemas.Task, given)


def cancel_task(task_id: str) -> Program[schemas.Task]:
    """Stop a task."""
    return send("POST", "/tasks" + below(task_id) + "/cancel", schemas.Task)


def wake_task(task_id: str, **fields: Unpack[bodies.Wake]) -> Program[schemas.Task]:
    """Wake a hibernating task, with or without a message."""
    kind = "message" if fields.get("message") else "external_wake"
    given = body_of(schemas.WakeRequest, fields if "kind" in fields else {**fields, "kind": kind})
    return send("POST", "/tasks" + below(task_id) + "/wake", schemas.Task, given)


def list_task_files(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """The files that the agent handed over."""
    return paged("/tasks" + below(task_id) + "/files", schemas.ListTaskFilesResponse, order, limit)


def download_task_file(
    task_id: str, file_id: str, to: transfers.Target, *, progress: transfers.Progress | None = None
) -> Program[None]:
    """Download one output, as the new file `to` or into a file object. A failed download leaves no file."""
    return transfers.download("/tasks" + below(task_id) + "/files" + below(file_id), to, progress)


def list_workspace(task_id: str, *, order: Literal["asc"] = "asc", limit: int | None = None) -> Program[None]:
    """What is in the workspace of a task that has ended, while it is kept."""
    return paged("/tasks" + below(task_id) + "/workspace", schemas.ListWorkspaceResponse, order, limit, "asc")


def download_workspace(
    task_id: str, to: transfers.Target, *, progress: transfers.Progress | None = None
) -> Program[None]:
    """All its files and directories as one tar archive."""
    return transfers.download("/tasks" + below(task_id) + "/workspace/archive", to, progress)


def download_workspace_file(
    task_id: str, path: str, to: transfers.Target, *, progress: transfers.Progress | None = None
) -> Program[None]:
    """One file of it, by the path that the list gives."""
    return transfers.download("/tasks" + below(task_id) + "/workspace/content", to, progress, {"path": path})


def list_events(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """What happened so far. `stream` also waits for what will."""
    return paged("/tasks" + below(task_id) + "/events", schemas.ListTaskEventsResponse, order, limit, "asc")


def list_messages(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """The messages of a task or conversation."""
    return paged("/tasks" + below(task_id) + "/messages", schemas.ListMessagesResponse, order, limit)


def list_activities(
    task_id: str,
    *,
    from_turn: int | None = None,
    to_turn: int | None = None,
    order: Order = "asc",
    limit: int | None = None,
) -> Program[None]:
    """The tools that the agent used."""
    path = "/tasks" + below(task_id) + "/activities"
    return paged(path, schemas.ListActivitiesResponse, order, limit, fromTurn=from_turn, toTurn=to_turn)


def list_model_calls(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """Each model call: tokens, cost and time."""
    return paged("/tasks" + below(task_id) + "/model-calls", schemas.ListModelCallsResponse, order, limit)


# Conversations


def create_conversation(agent_id: str, **fields: Unpack[bodies.CreateConversation]) -> Program[schemas.TaskAndMessage]:
    """Start a conversation. Returns a TaskAndMessage: `.task` is the conversation, `.message` your message."""
    given = body_of(schemas.CreateConversationRequest, fields)
    return send("POST", "/agents" + below(agent_id) + "/conversations", schemas.TaskAndMessage, given)


def create_message(task_id: str, **fields: Unpack[bodies.CreateMessage]) -> Program[schemas.TaskAndMessage]:
    """Send the next message. Returns a TaskAndMessage: `.task` is the conversation, `.message` your message."""
    given = body_of(schemas.CreateMessageRequest, fields)
    return send("POST", "/conversations" + below(task_id) + "/messages", schemas.TaskAndMessage, given)


def get_openapi() -> Program[str]:
    """The description of the API, as YAML."""
    answer = yield from requests.ask(Request("GET", "/openapi.yaml"))
    return answer.body.decode()


class Operations:
    """What both clients can do."""

    get_account = Operation(get_account)
    get_doctor = Operation(get_doctor)
    prove_walls = Operation(prove_walls)
    get_budget = Operation(get_budget)
    set_budget = Operation(set_budget)
    get_credit = Operation(get_credit)
    add_credit = Operation(add_credit)
    list_credit_entries = Listing(list_credit_entries, schemas.CreditEntry)
    list_keys = Listing(list_keys, schemas.ApiKey)
    create_key = Operation(create_key)
    revoke_key = Operation(revoke_key)
    list_providers = Listing(list_providers, schemas.ProviderStatus)
    set_provider = Operation(set_provider)
    remove_provider = Operation(remove_provider)

    list_containers = Listing(list_containers, schemas.Container)
    create_container = Operation(create_container)
    get_container = Operation(get_container)
    update_container = Operation(update_container)
    archive_container = Operation(archive_container)
    fork_container = Operation(fork_container)
    list_container_versions = Listing(list_container_versions, schemas.ContainerVersion)
    get_container_version = Operation(get_container_version)

    list_agents = Listing(list_agents, schemas.Agent)
    create_agent = Operation(create_agent)
    get_agent = Operation(get_agent)
    update_agent = Operation(update_agent)
    archive_agent = Operation(archive_agent)
    fork_agent = Operation(fork_agent)
    list_agent_versions = Listing(list_agent_versions, schemas.AgentVersion)
    get_agent_version = Operation(get_agent_version)
    list_reference_files = Listing(list_reference_files, schemas.File)
    attach_reference_files = Operation(attach_reference_files)
    detach_reference_file = Operation(detach_reference_file)

    run = Operation(job.run)
    download_all = Operation(job.download_all)

    upload = Operation(transfers.upload)
    list_files = Listing(list_files, schemas.File)
    get_file = Operation(get_file)
    delete_file = Operation(delete_file)
    download_file = Operation(download_file)

    list_tasks = Listing(list_tasks, schemas.Task)
    create_task = Operation(create_task)
    get_task = Operation(get_task)
    update_task = Operation(update_task)
    cancel_task = Operation(cancel_task)
    wake_task = Operation(wake_task)
    list_task_files = Listing(list_task_files, schemas.TaskFile)
    download_task_file = Operation(download_task_file)
    list_workspace = Listing(list_workspace, schemas.WorkspaceEntry)
    download_workspace = Operation(download_workspace)
    download_workspace_file = Operation(download_workspace_file)
    list_events = Listing(list_events, schemas.TaskEvent)
    list_messages = Listing(list_messages, schemas.Message)
    list_activities = Listing(list_activities, schemas.Activity)
    list_model_calls = Listing(list_model_calls, schemas.ModelCall)
    stream = Listing(events.stream, events.Event)
    wait = Operation(events.wait)

    create_conversation = Operation(create_conversation)
    create_message = Operation(create_message)

    get_openapi = Operation(get_openapi)
