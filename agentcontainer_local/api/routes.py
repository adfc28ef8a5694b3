"""Every route of the API, those that are asked most often first."""

from agentcontainer_local.api import (
    account,
    agents,
    containers,
    conversations,
    credit,
    doctor,
    events,
    files,
    tasks,
    workspaces,
)
from agentcontainer_local.http import openapi

_RESOURCES = [
    *tasks.ROUTES,
    *workspaces.ROUTES,
    *events.ROUTES,
    *conversations.ROUTES,
    *agents.ROUTES,
    *files.ROUTES,
    *containers.ROUTES,
    *account.ROUTES,
    *credit.ROUTES,
    *doctor.ROUTES,
]
ALL = [*_RESOURCES, *openapi.routes_of(_RESOURCES)]
