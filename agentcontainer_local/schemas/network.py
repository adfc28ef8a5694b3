"""What a task may reach."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from agentcontainer_local import hostnames


def _host(text: str) -> str:
    """As it was written, if it makes sense."""
    try:
        hostnames.allowed(text)
    except ValueError as error:
        raise PydanticCustomError("host", "{message}", {"message": str(error)}) from None
    return text


AllowedHosts = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_host)]], Field(max_length=100)
]
ALLOWED_AND_OPEN = "allowedHosts needs internetAccess false; give [] for none"
ABOUT_ALLOWED_HOSTS = (
    "Hosts that the agent may reach through an HTTP proxy, for example `example.org`, or `*.example.org`"
    " for all its subdomains; ports 80 and 443, or one port as in `example.org:8443`. Needs `internetAccess` false."
)
