"""Every operation of the API under its own name, for both clients: the one table of what they can do.

`get_task = Operation(...)` answers a value (or an awaitable of it), `list_tasks = Listing(...)` an iterator (or an
async one) that fetches page after page.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload
from urllib.parse import quote

from pydantic import BaseModel

from agentcontainer_local import schemas
from agentcontainer_local.client import events, requests, transfers
from agentcontainer_local.client.effects import Emit, Program, Request
from agentcontainer_local.client.requests import body_of, delete, get, send, send_once

if TYPE_CHECKING:
    from agentcontainer_local.client.clients import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item", bound=BaseModel)
Order = Literal["asc", "desc"]
Body = BaseModel | Mapping[str, Any] | None
PAGE = 100


class Operation(Generic[P, T]):
    """A program that returns one value."""

    def __init__(self, program: Callable[P, Program[T]]):
        self.program = program
        self.__doc__ = program.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Operation[P, T]": ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, client, owner):
        return self if client is None else client.bound(self.program, client.run)


class Listing(Generic[P, T]):
    """A program that emits values, however many."""

    def __init__(self, program: Callable[P, Program[None]], of: type[T]):
        self.program = program
        self.of = of
        self.__doc__ = program.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Listing[P, T]": ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client, owner):
        return self if client is None else client.bound(self.program, client.iterate)


def below(*parts: str) -> str:
    """A path of ids that cannot lead elsewhere."""
    return "".join("/" + quote(part, safe="") for part in parts)


def paged(path: str, page: type[schemas.Page[Item]], order: Order, limit: int | None, **query: Any) -> Program[None]:
    """Emits at most `limit` of a list, page after page; what is added meanwhile moves nothing."""
    left, cursor = limit, None
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        answer = yield from get(path, page, limit=size, cursor=cursor, order=order, **query)
        for item in answer.data:
            yield Emit(item)
        left = None if left is None else left - len(answer.data)
        cursor = answer.page_info.next_cursor
        if cursor is None:
            return


# Account

def get_account() -> Program[schemas.Account]:
    """Who this key belongs to, and its credit."""
    return get("/account", schemas.Account)


def get_doctor() -> Program[schemas.Doctor]:
    """What the server's machine has and lacks, and what its walls held when they were last tried."""
    return get("/doctor", schemas.Doctor)


def prove_walls() -> Program[schemas.Doctor]:
    """Starts containers in which each promise is tried; takes some ten seconds."""
    return send_once("POST", "/doctor", schemas.Doctor)


def get_budget() -> Program[schemas.AccountBudget]:
    """What model calls may cost in a month, and what this month's did."""
    return get("/account/budget", schemas.AccountBudget)


def set_budget(body: Body = None, /, **fields: Any) -> Program[schemas.AccountBudget]:
    """`fields` as in schemas.BudgetRequest: max_cost_usd, max_tokens; what is not given is without limit."""
    return send("PUT", "/account/budget", schemas.AccountBudget, body_of(schemas.BudgetRequest, body, fields))


def get_credit() -> Program[schemas.Credit]:
    """The balance, and whether it counts."""
    return get("/credit", schemas.Credit)


def list_credit_entries(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    """What the balance is the sum of."""
    return paged("/credit/entries", schemas.ListCreditEntriesResponse, order, limit)


def add_credit(amount_usd: float) -> Program[schemas.Credit]:
    """Grants the account credit; answers what it then has."""
    return send("POST", "/credit", schemas.Credit, {"amountUsd": amount_usd})


def list_keys(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/keys", schemas.ListApiKeysResponse, order, limit)


def create_key(name: str) -> Program[schemas.CreatedApiKey]:
    """The answer's `key` is not to be had again."""
    return send_once("POST", "/keys", schemas.CreatedApiKey, {"name": name})


def revoke_key(key_id: str) -> Program[None]:
    return delete("/keys" + below(key_id))


def list_providers() -> Program[None]:
    page = yield from get("/providers", schemas.ListProvidersResponse)
    for provider in page.data:
        yield Emit(provider)


def set_provider(provider: str, body: Body = None, /, **fields: Any) -> Program[schemas.ProviderStatus]:
    """`fields` as in schemas.UpdateProviderRequest: api_key, base_url, is_default."""
    given = body_of(schemas.UpdateProviderRequest, body, fields)
    return send("PUT", "/providers" + below(provider), schemas.ProviderStatus, given)


def remove_provider(provider: str) -> Program[None]:
    return delete("/providers" + below(provider))


# Containers

def list_containers(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/containers", schemas.ListContainersResponse, order, limit)


def create_container(body: Body = None, /, **fields: Any) -> Program[schemas.Container]:
    """`fields` as in schemas.CreateContainerRequest."""
    given = body_of(schemas.CreateContainerRequest, body, fields)
    return send("POST", "/containers", schemas.Container, given)


def get_container(container_id: str) -> Program[schemas.Container]:
    return get("/containers" + below(container_id), schemas.Container)


def update_container(container_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Container]:
    """`fields` as in schemas.UpdateContainerRequest."""
    given = body_of(schemas.UpdateContainerRequest, body, fields)
    return send("PATCH", "/containers" + below(container_id), schemas.Container, given)


def archive_container(container_id: str) -> Program[None]:
    return delete("/containers" + below(container_id))


def fork_container(container_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Container]:
    """`fields` as in schemas.ForkResourceRequest."""
    given = body_of(schemas.ForkResourceRequest, body, fields)
    return send("POST", "/containers" + below(container_id) + "/fork", schemas.Container, given)


def list_container_versions(
    container_id: str, *, order: Order = "desc", limit: int | None = None
) -> Program[None]:
    path = "/containers" + below(container_id) + "/versions"
    return paged(path, schemas.ListContainerVersionsResponse, order, limit)


def get_container_version(container_id: str, version_id: str) -> Program[schemas.ContainerVersion]:
    return get("/containers" + below(container_id) + "/versions" + below(version_id), schemas.ContainerVersion)


# Agents

def list_agents(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/agents", schemas.ListAgentsResponse, order, limit)


def create_agent(body: Body = None, /, **fields: Any) -> Program[schemas.Agent]:
    """`fields` as in schemas.CreateAgentRequest."""
    return send("POST", "/agents", schemas.Agent, body_of(schemas.CreateAgentRequest, body, fields))


def get_agent(agent_id: str) -> Program[schemas.Agent]:
    return get("/agents" + below(agent_id), schemas.Agent)


def update_agent(agent_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Agent]:
    """`fields` as in schemas.UpdateAgentRequest; execution changes make a new version."""
    given = body_of(schemas.UpdateAgentRequest, body, fields)
    return send("PATCH", "/agents" + below(agent_id), schemas.Agent, given)


def archive_agent(agent_id: str) -> Program[None]:
    return delete("/agents" + below(agent_id))


def fork_agent(agent_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Agent]:
    """`fields` as in schemas.ForkResourceRequest."""
    given = body_of(schemas.ForkResourceRequest, body, fields)
    return send("POST", "/agents" + below(agent_id) + "/fork", schemas.Agent, given)


def list_agent_versions(agent_id: str, *, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/agents" + below(agent_id) + "/versions", schemas.ListAgentVersionsResponse, order, limit)


def get_agent_version(agent_id: str, version_id: str) -> Program[schemas.AgentVersion]:
    return get("/agents" + below(agent_id) + "/versions" + below(version_id), schemas.AgentVersion)


def list_reference_files(agent_id: str, *, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/agents" + below(agent_id) + "/reference-files", schemas.ListFilesResponse, order, limit)


def attach_reference_files(agent_id: str, file_ids: list[str]) -> Program[schemas.Agent]:
    path = "/agents" + below(agent_id) + "/reference-files"
    return send("POST", path, schemas.Agent, {"fileIds": list(file_ids)})


def detach_reference_file(agent_id: str, file_id: str) -> Program[None]:
    return delete("/agents" + below(agent_id) + "/reference-files" + below(file_id))


# Files; how bytes go is in transfers

def list_files(*, order: Order = "desc", limit: int | None = None) -> Program[None]:
    return paged("/files", schemas.ListFilesResponse, order, limit)


def get_file(file_id: str) -> Program[schemas.File]:
    return get("/files" + below(file_id), schemas.File)


def delete_file(file_id: str) -> Program[None]:
    return delete("/files" + below(file_id))


def download_file(
    file_id: str, to: transfers.Target, *, progress: transfers.Progress | None = None
) -> Program[None]:
    """Into an open file from where it stands, or as the new file `to`: whole, or not there at all."""
    return transfers.download("/files" + below(file_id) + "/content", to, progress)


# Tasks

def list_tasks(
    *, agent_id: str | None = None, status: schemas.TaskStatus | None = None, order: Order = "desc",
    limit: int | None = None,
) -> Program[None]:
    """Those of one agent, or of all."""
    path = "/tasks" if agent_id is None else "/agents" + below(agent_id) + "/tasks"
    return paged(path, schemas.ListTasksResponse, order, limit, status=status)


def create_task(agent_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Task]:
    """Dispatches; `fields` as in schemas.CreateTaskRequest."""
    given = body_of(schemas.CreateTaskRequest, body, fields)
    return send("POST", "/agents" + below(agent_id) + "/tasks", schemas.Task, given)


def get_task(task_id: str) -> Program[schemas.Task]:
    return get("/tasks" + below(task_id), schemas.Task)


def update_task(task_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Task]:
    """`fields` as in schemas.UpdateTaskRequest: title, mode."""
    given = body_of(schemas.UpdateTaskRequest, body, fields)
    return send("PATCH", "/tasks" + below(task_id), schemas.Task, given)


def cancel_task(task_id: str) -> Program[schemas.Task]:
    return send("POST", "/tasks" + below(task_id) + "/cancel", schemas.Task)


def wake_task(task_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.Task]:
    """`fields` as in schemas.WakeRequest; without any, it is woken as from outside."""
    given = body_of(schemas.WakeRequest, body, fields if fields or body else {"kind": "external_wake"})
    return send("POST", "/tasks" + below(task_id) + "/wake", schemas.Task, given)


def list_task_files(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """What the agent handed over."""
    return paged("/tasks" + below(task_id) + "/files", schemas.ListTaskFilesResponse, order, limit)


def download_task_file(
    task_id: str, file_id: str, to: transfers.Target, *, progress: transfers.Progress | None = None
) -> Program[None]:
    """Into an open file from where it stands, or as the new file `to`: whole, or not there at all."""
    return transfers.download("/tasks" + below(task_id) + "/files" + below(file_id), to, progress)


def list_events(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """What happened so far; `stream` goes on with what will."""
    return paged("/tasks" + below(task_id) + "/events", schemas.ListTaskEventsResponse, order, limit)


def list_messages(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """The transcript."""
    return paged("/tasks" + below(task_id) + "/messages", schemas.ListMessagesResponse, order, limit)


def list_activities(
    task_id: str, *, from_turn: int | None = None, to_turn: int | None = None, order: Order = "asc",
    limit: int | None = None,
) -> Program[None]:
    """Which tools the agent used."""
    path = "/tasks" + below(task_id) + "/activities"
    return paged(path, schemas.ListActivitiesResponse, order, limit, fromTurn=from_turn, toTurn=to_turn)


def list_model_calls(task_id: str, *, order: Order = "asc", limit: int | None = None) -> Program[None]:
    """What each call to a model used, and what it cost."""
    return paged("/tasks" + below(task_id) + "/model-calls", schemas.ListModelCallsResponse, order, limit)


# Conversations

def create_conversation(agent_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.TaskAndMessage]:
    """`fields` as in schemas.CreateConversationRequest."""
    given = body_of(schemas.CreateConversationRequest, body, fields)
    return send("POST", "/agents" + below(agent_id) + "/conversations", schemas.TaskAndMessage, given)


def create_message(task_id: str, body: Body = None, /, **fields: Any) -> Program[schemas.TaskAndMessage]:
    """`fields` as in schemas.CreateMessageRequest."""
    given = body_of(schemas.CreateMessageRequest, body, fields)
    return send("POST", "/conversations" + below(task_id) + "/messages", schemas.TaskAndMessage, given)


def get_openapi() -> Program[str]:
    """The API's own description, as YAML."""
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
    list_events = Listing(list_events, schemas.TaskEvent)
    list_messages = Listing(list_messages, schemas.Message)
    list_activities = Listing(list_activities, schemas.Activity)
    list_model_calls = Listing(list_model_calls, schemas.ModelCall)
    stream = Listing(events.stream, events.Event)
    wait = Operation(events.wait)

    create_conversation = Operation(create_conversation)
    create_message = Operation(create_message)

    get_openapi = Operation(get_openapi)
