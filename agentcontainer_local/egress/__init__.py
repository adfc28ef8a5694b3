"""The egress proxy for tasks with allowed hosts: an HTTP proxy on a socket beside the door."""

from agentcontainer_local.egress.proxy import opened
from agentcontainer_local.egress.resolver import INTERNET, Outside

__all__ = ["INTERNET", "Outside", "opened"]
