"""A task's model calls: checked, forwarded with the provider's key, and metered; or answered by the scripted model."""

from agentcontainer_local.gateway.grant import Grant, Progress
from agentcontainer_local.gateway.handle import handle
from agentcontainer_local.gateway.provider_session import Client, client, load
from agentcontainer_local.gateway.token_estimate import Known
from agentcontainer_local.gateway.upstream import Upstream, Wrapped, as_it_is

__all__ = ["Client", "Grant", "Known", "Progress", "Upstream", "Wrapped", "as_it_is", "client", "handle", "load"]
