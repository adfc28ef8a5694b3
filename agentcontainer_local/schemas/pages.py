"""Pages of a list."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import Order
from agentcontainer_local.schemas.extensions import Extension

T = TypeVar("T")
Limit = Annotated[
    int, Field(ge=1, le=1000, description="Maximum number of items; large items may make a page shorter.")
]
Cursor = Annotated[str | None, Field(max_length=100, description="`pageInfo.nextCursor` of the previous page.")]
ORDER = "Newest first (desc) or oldest first."


class PageInfo(Shape):
    has_more: bool
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class PageQuery(Shape):
    limit: Extension[Limit] = 1000
    cursor: Extension[Cursor] = None
    order: Extension[Order] = Field("desc", description=ORDER)


class TaskFilesQuery(PageQuery):
    limit: Limit = 1000
    cursor: Cursor = None


class TranscriptQuery(TaskFilesQuery):
    order: Order = Field("desc", description=ORDER)


class Page(Shape, Generic[T]):
    data: list[T]
    page_info: Extension[PageInfo] = Field(default_factory=lambda: PageInfo(has_more=False, next_cursor=None))


class PublishedPage(Page[T], Generic[T]):
    page_info: PageInfo
