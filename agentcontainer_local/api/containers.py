"""Reusable execution environments."""

from agentcontainer_local import schemas
from agentcontainer_local.errors import Conflict, NotFound
from agentcontainer_local.http.pagination import page
from agentcontainer_local.http.routing import Call, Route
from agentcontainer_local.store import containers
from agentcontainer_local.store.db import Row


def list_containers(call: Call) -> schemas.ListContainersResponse:
    """Lists your custom containers and platform-provided standard containers."""
    found = containers.page(call.host.db, call.account["id"], **call.cut.asked)
    return page(schemas.ListContainersResponse, call.cut, found, lambda row: _shape(call, row))


def create_container(call: Call) -> schemas.Container:
    """Creates a reusable execution environment definition. An image is looked for at the first run."""
    return _shape(call, containers.create(call.host.db, call.account["id"], call.body, call.now))


def get_container(call: Call) -> schemas.Container:
    """Returns a container with its current version."""
    return _shape(call, _owned(call))


def update_container(call: Call) -> schemas.Container:
    """Updates a container. Execution changes create a new container version."""
    found = containers.update(call.host.db, call.account["id"], call.param("containerId"), call.body, call.now)
    return _shape(call, found)


def archive_container(call: Call) -> None:
    """Soft-archives a custom container."""
    containers.archive(call.host.db, call.account["id"], call.param("containerId"), call.now)


def fork_container(call: Call) -> schemas.Container:
    """Forks a standard container into your own custom container."""
    found = containers.fork(call.host.db, call.account["id"], call.param("containerId"), call.body, call.now)
    return _shape(call, found)


def list_container_versions(call: Call) -> schemas.ListContainerVersionsResponse:
    """Lists the versions of a container."""
    found = containers.versions(call.host.db, _owned(call)["id"], **call.cut.asked)
    return page(schemas.ListContainerVersionsResponse, call.cut, found, containers.version_shape)


def get_container_version(call: Call) -> schemas.ContainerVersion:
    """Returns one version of a container."""
    found = containers.one_version(call.host.db, _owned(call)["id"], call.param("versionId"))
    return containers.version_shape(found)


def _owned(call: Call) -> Row:
    return containers.owned(call.host.db, call.account["id"], call.param("containerId"))


def _shape(call: Call, container: Row) -> schemas.Container:
    return containers.shape(call.host.db, container)


TAG = "Containers"
ONE = "/containers/{containerId}"
ROUTES = [
    Route(
        "GET",
        "/containers",
        list_containers,
        "List containers",
        TAG,
        schemas.ListContainersResponse,
        query=schemas.PageQuery,
    ),
    Route(
        "POST",
        "/containers",
        create_container,
        "Create container",
        TAG,
        schemas.Container,
        201,
        schemas.CreateContainerRequest,
        replayable=True,
        replay_extension=True,
        example={"name": "Python 3.13", "containerImage": "docker.io/library/python:3.13-slim"},
    ),
    Route("GET", ONE, get_container, "Get container", TAG, schemas.Container, errors=(NotFound,)),
    Route(
        "PATCH",
        ONE,
        update_container,
        "Update container",
        TAG,
        schemas.Container,
        takes=schemas.UpdateContainerRequest,
        errors=(NotFound, Conflict),
        example={"name": "Python"},
    ),
    Route("DELETE", ONE, archive_container, "Archive container", TAG, status=204, errors=(NotFound, Conflict)),
    Route(
        "POST",
        ONE + "/fork",
        fork_container,
        "Fork container",
        TAG,
        schemas.Container,
        201,
        schemas.ForkResourceRequest,
        body_required=False,
        replayable=True,
        replay_extension=True,
        errors=(NotFound,),
        example={"name": "My coding container"},
    ),
    Route(
        "GET",
        ONE + "/versions",
        list_container_versions,
        "List container versions",
        TAG,
        schemas.ListContainerVersionsResponse,
        query=schemas.PageQuery,
        errors=(NotFound,),
    ),
    Route(
        "GET",
        ONE + "/versions/{versionId}",
        get_container_version,
        "Get container version",
        TAG,
        schemas.ContainerVersion,
        errors=(NotFound,),
    ),
]
