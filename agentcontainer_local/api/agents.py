"""Reusable workers built on top of containers."""

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, NotFound, Unsupported
from agentcontainer_local.http.pagination import page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.store import agents, files
from agentcontainer_local.store.db import Row


def list_agents(call: Call) -> schemas.ListAgentsResponse:
    """Lists your custom agents and platform-provided standard agents."""
    found = agents.page(call.host.db, call.account["id"], **call.cut.asked)
    return page(schemas.ListAgentsResponse, call.cut, found, lambda row: _shape(call, row))


def create_agent(call: Call) -> schemas.Agent:
    """Creates a reusable worker definition referencing a container, or an image; the standard coding one if neither."""
    return _shape(call, agents.create(call.host.context, call.account["id"], call.body))


def get_agent(call: Call) -> schemas.Agent:
    """Returns an agent with its current version."""
    return _shape(call, _owned(call))


def update_agent(call: Call) -> schemas.Agent:
    """Updates an agent. Execution changes create a new agent version. Defaults are merged."""
    return _shape(
        call,
        agents.update(call.host.context, call.account["id"], call.param("agentId"), call.body),
    )


def archive_agent(call: Call) -> None:
    """Soft-archives a custom agent."""
    agents.archive(call.host.db, call.account["id"], call.param("agentId"), call.now)


def fork_agent(call: Call) -> schemas.Agent:
    """Forks a standard agent into your own custom agent."""
    return _shape(call, agents.fork(call.host.context, call.account["id"], call.param("agentId"), call.body))


def list_agent_versions(call: Call) -> schemas.ListAgentVersionsResponse:
    """Lists the versions of an agent. A task keeps the version that it was dispatched with."""
    found = agents.versions(call.host.db, _owned(call)["id"], **call.cut.asked)
    return page(schemas.ListAgentVersionsResponse, call.cut, found, lambda row: agents.version_shape(call.host.db, row))


def get_agent_version(call: Call) -> schemas.AgentVersion:
    """Returns one version of an agent."""
    found = agents.one_version(call.host.db, _owned(call)["id"], call.param("versionId"))
    return agents.version_shape(call.host.db, found)


def list_reference_files(call: Call) -> schemas.ListFilesResponse:
    """Lists the reference files of the agent's current version."""
    version = agents.current(call.host.db, _owned(call)["id"])
    found = agents.reference_files(call.host.db, version["id"], **call.cut.asked)
    return page(schemas.ListFilesResponse, call.cut, found, files.shape)


def attach_reference_files(call: Call) -> schemas.Agent:
    """Attaches previously uploaded files to an agent, creating a new agent version."""
    return _shape(
        call,
        agents.attach(call.host.context, call.account["id"], call.param("agentId"), call.body.file_ids),
    )


def detach_reference_file(call: Call) -> None:
    """Takes a file away from the agent, creating a new agent version."""
    agents.detach(call.host.context, call.account["id"], call.param("agentId"), call.param("fileId"))


def _owned(call: Call) -> Row:
    return agents.owned(call.host.db, call.account["id"], call.param("agentId"))


def _shape(call: Call, agent: Row) -> schemas.Agent:
    return agents.shape(call.host.db, agent)


TAG = "Agents"
ONE = "/agents/{agentId}"
EXAMPLE = {
    "name": "Report writer",
    "containerId": "ctr_standard_data",
    "basePrompt": "Write short reports with sources.",
    "defaults": {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "internetAccess": False,
        "maxRuntimeSeconds": 1800,
        "outputPolicy": {"mode": "named", "files": [{"name": "report"}]},
    },
}
ROUTES = [
    Route("GET", "/agents", list_agents, "List agents", TAG, schemas.ListAgentsResponse, query=schemas.PageQuery),
    Route(
        "POST",
        "/agents",
        create_agent,
        "Create agent",
        TAG,
        schemas.Agent,
        201,
        schemas.CreateAgentRequest,
        replayable=True,
        replay_extension=True,
        errors=(Unsupported,),
        example=EXAMPLE,
    ),
    Route("GET", ONE, get_agent, "Get agent", TAG, schemas.Agent, errors=(NotFound,)),
    Route(
        "PATCH",
        ONE,
        update_agent,
        "Update agent",
        TAG,
        schemas.Agent,
        takes=schemas.UpdateAgentRequest,
        errors=(NotFound, Conflict, Unsupported),
        example={"defaults": {"maxRuntimeSeconds": 3600}},
    ),
    Route("DELETE", ONE, archive_agent, "Archive agent", TAG, status=204, errors=(NotFound, Conflict)),
    Route(
        "POST",
        ONE + "/fork",
        fork_agent,
        "Fork agent",
        TAG,
        schemas.Agent,
        201,
        schemas.ForkResourceRequest,
        body_required=False,
        replayable=True,
        replay_extension=True,
        errors=(NotFound,),
        example={"name": "My analyst"},
    ),
    Route(
        "GET",
        ONE + "/versions",
        list_agent_versions,
        "List agent versions",
        TAG,
        schemas.ListAgentVersionsResponse,
        query=schemas.PageQuery,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        ONE + "/versions/{versionId}",
        get_agent_version,
        "Get agent version",
        TAG,
        schemas.AgentVersion,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        ONE + "/reference-files",
        list_reference_files,
        "List reference files for current agent version",
        "Files",
        schemas.ListFilesResponse,
        query=schemas.PageQuery,
        errors=(NotFound,),
    ),
    Route(
        "POST",
        ONE + "/reference-files",
        attach_reference_files,
        "Attach reference files to agent",
        "Files",
        schemas.Agent,
        takes=schemas.AttachReferenceFilesRequest,
        replayable=True,
        replay_extension=True,
        errors=(NotFound, Conflict),
        example={"fileIds": ["file_abc123"]},
    ),
    Route(
        "DELETE",
        ONE + "/reference-files/{fileId}",
        detach_reference_file,
        "Detach reference file from agent",
        "Files",
        status=204,
        errors=(NotFound, Conflict),
        extension=True,
    ),
]
