"""The files of a running task."""

from typing import Annotated, Literal

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import WorkspaceEntryType
from agentcontainer_local.schemas.fields import Timestamp
from agentcontainer_local.schemas.pages import Page, PageQuery


class WorkspaceQuery(PageQuery):
    order: Literal["asc"] = Field("asc", description="Entries, sorted by name.")


class WorkspaceFileQuery(Shape):
    path: Annotated[str, Field(min_length=1, max_length=4096)] = Field(description="Path, as in the list.")


class WorkspaceEntry(Shape):
    path: str = Field(description="Path relative to the workspace, with `/` as separator.")
    type: WorkspaceEntryType = Field(
        description="Only files can be downloaded; `other` is a FIFO, a socket or a device."
    )
    size_bytes: int
    is_executable: bool
    modified_at: Timestamp


class ListWorkspaceResponse(Page[WorkspaceEntry]):
    pass
