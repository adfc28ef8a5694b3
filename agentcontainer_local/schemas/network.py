"""What a task may reach."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from agentcontainer_local import hostnames
from agentcontainer_local.schemas.base import Request, fault


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
    "Extension: hosts that the agent may reach through an HTTP proxy, for example `example.org`, or `*.example.org`"
    " for all its subdomains; ports 80 and 443, or one port as in `example.org:8443`. Needs `internetAccess` false."
)


class Network(Request):
    internet_access: bool | None = None
    allowed_hosts: AllowedHosts | None = Field(
        None, description=ABOUT_ALLOWED_HOSTS, examples=[["*.example.org", "registry.example:8443"]]
    )

    @model_validator(mode="after")
    def _one_way_out(self):
        if self.internet_access and self.allowed_hosts:
            raise fault("allowedHosts", ALLOWED_AND_OPEN)
        return self
