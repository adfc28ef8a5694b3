"""Containers and their versions."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from agentcontainer_local.guest_contract import MOUNT, WORKSPACE
from agentcontainer_local.schemas.base import Request, Shape, fault
from agentcontainer_local.schemas.enums import AgentRuntime, ContainerPreset, ContractVersion
from agentcontainer_local.schemas.extensions import Extension
from agentcontainer_local.schemas.fields import Image, Name, Timestamp
from agentcontainer_local.schemas.pages import Page

RESERVED = ("/proc", "/sys", "/dev", "/run", MOUNT, WORKSPACE)


def _writable(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "" in parts[1:] or "." in parts or not path.isprintable():
        raise ValueError("must be an absolute path of a directory, without a slash at its end, for example /testbed")
    if any(path == place or path.startswith(place + "/") for place in RESERVED):
        raise ValueError("must not be a system directory: the agent can't get write access to it")
    return path


WritablePath = Annotated[str, Field(min_length=2, max_length=500), AfterValidator(_writable)]
WritablePaths = Annotated[list[WritablePath], Field(max_length=20)]
WRITABLE = "Directories of the image that the agent may write to."


class ContainerExecution(Request):
    container_preset: ContainerPreset | None = None
    container_image: Image | None = Field(None, description="Any image with glibc and /bin/sh.")
    writable_paths: Extension[WritablePaths | None] = Field(None, description=WRITABLE, examples=[["/testbed"]])
    container_contract_version: ContractVersion | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.container_preset and self.container_image:
            raise fault("containerImage", "give either containerPreset or containerImage, not both")
        return self


class CreateContainerRequest(ContainerExecution):
    name: Name
    description: str | None = None


class UpdateContainerRequest(ContainerExecution):
    name: Name | None = None
    description: str | None = None


class ForkResourceRequest(Request):
    name: Name | None = None
    description: str | None = None


class ContainerVersion(Shape):
    id: str
    number: int
    container_preset: str | None
    container_image: str | None
    writable_paths: Extension[list[str]] = Field([], description=WRITABLE, exclude_if=lambda paths: not paths)
    container_contract_version: str
    created_at: Timestamp


class Container(Shape):
    id: str
    name: str
    description: str
    is_standard: bool
    archived_at: Timestamp | None
    current_version: ContainerVersion
    created_at: Timestamp


class ListContainersResponse(Page[Container]):
    pass


class ListContainerVersionsResponse(Page[ContainerVersion]):
    pass


class RuntimeStatus(Shape):
    container_image: str | None = Field(description="Image; null if a preset names it.")
    agent_runtime: AgentRuntime = "pi"
    writable_paths: Extension[list[str]] = Field([], description=WRITABLE, exclude_if=lambda paths: not paths)
