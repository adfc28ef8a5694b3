"""The HTTP interface for guests, served at the door."""

from starlette.routing import Route

from agentcontainer_local.guest.commands import commands
from agentcontainer_local.guest.door import Door, opened
from agentcontainer_local.guest.events import events
from agentcontainer_local.guest.hibernate import hibernate
from agentcontainer_local.guest.inputs import give_input
from agentcontainer_local.guest.outputs import begin, commit, receive

ROUTES = [
    Route("/guest/commands", commands),
    Route("/guest/events", events, methods=["POST"]),
    Route("/guest/inputs/{name}", give_input),
    Route("/guest/hibernate", hibernate, methods=["POST"]),
    Route("/guest/outputs", begin, methods=["POST"]),
    Route("/guest/outputs/{id}/{index:int}", receive, methods=["PUT"]),
    Route("/guest/outputs/{id}", commit, methods=["POST"]),
]

__all__ = ["ROUTES", "Door", "opened"]
