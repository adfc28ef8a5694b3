"""A task's model calls: checked, forwarded with the provider's key, metered; or answered by the scripted model."""

from agentcontainer_local.gateway.client import Client, client
from agentcontainer_local.gateway.grant import Grant, Progress
from agentcontainer_local.gateway.handle import handle
from agentcontainer_local.gateway.known import Known
from agentcontainer_local.gateway.usage import Usage

__all__ = ["Client", "Grant", "Known", "Progress", "Usage", "client", "handle"]
