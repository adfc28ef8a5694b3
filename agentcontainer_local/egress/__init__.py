"""The way out of a run whose task has allowed hosts: an HTTP proxy on a socket of its own beside the door."""

from agentcontainer_local.egress.proxy import opened
from agentcontainer_local.egress.resolver import INTERNET, Outside

__all__ = ["INTERNET", "Outside", "opened"]
