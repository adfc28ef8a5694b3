"""Every route of the API, those that are asked most often first."""

from agentcontainer_local.api import (
    account,
    agents,
    containers,
    conversations,
    credit,
    docs,
    doctor,
    events,
    files,
    openapi,
    tasks,
)

_RESOURCES = [
    *tasks.ROUTES, *events.ROUTES, *conversations.ROUTES, *agents.ROUTES, *files.ROUTES, *containers.ROUTES,
    *account.ROUTES, *credit.ROUTES, *doctor.ROUTES,
]
_DOCUMENTED = [*_RESOURCES, openapi.route(_RESOURCES)]
ALL = [*_DOCUMENTED, docs.route(_DOCUMENTED)]
