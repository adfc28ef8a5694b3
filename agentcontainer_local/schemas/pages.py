"""Pages of a list."""

from typing import Generic, TypeVar

from pydantic import Field

from agentcontainer_local.schemas.base import Shape
from agentcontainer_local.schemas.enums import Order

T = TypeVar("T")


class PageInfo(Shape):
    has_more: bool
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page.")


class PageQuery(Shape):
    limit: int = Field(1000, ge=1, le=1000, description="Maximum number of items; large items may make a page shorter.")
    cursor: str | None = Field(None, max_length=100, description="`pageInfo.nextCursor` of the previous page.")
    order: Order = Field("desc", description="Newest first (desc) or oldest first.")


class Page(Shape, Generic[T]):
    data: list[T]
    page_info: PageInfo
