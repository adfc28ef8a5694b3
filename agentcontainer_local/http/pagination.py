"""Pagination: a cursor is the number of the last row seen, so new rows do not shift pages."""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from agentcontainer_local.errors import Invalid
from agentcontainer_local.schemas import MAX_INTEGER as LAST
from agentcontainer_local.schemas import Page, PageInfo, PageQuery
from agentcontainer_local.store.db import Columns

Answer = TypeVar("Answer", bound=Page[Any])
R = TypeVar("R", bound=Columns)
Item = TypeVar("Item")

MAX_PAGE_CHARACTERS = 1024**2  # of a page's rows, and one row more: to write them down holds up others


@dataclass(frozen=True)
class Cut:
    """Which rows: at most `limit` beyond the one numbered `after`, upwards or downwards."""

    limit: int
    after: int
    ascending: bool

    @property
    def asked(self) -> dict[str, Any]:
        """As keyword arguments for a record's `page`: one row more than wanted tells whether there is a next page."""
        return {"limit": self.limit + 1, "after": self.after, "ascending": self.ascending}


def cut_of(query: PageQuery) -> Cut:
    ascending = query.order == "asc"
    after = _number(query.cursor) if query.cursor else (0 if ascending else LAST)
    return Cut(query.limit, after, ascending)


def page(answer: type[Answer], cut: Cut, found: Iterable[R], shape: Callable[[R], BaseModel]) -> Answer:
    """`found`: what is there for `cut.asked`, each with its `number`."""
    rows, more = _taken(found, cut.limit, _characters)
    info = _info(rows[-1]["number"] if more else None)
    return answer(data=[shape(row) for row in rows], page_info=info)


def joined(cut: Cut, found: Iterable[tuple[int, bytes]]) -> bytes:
    """A page as JSON, of items that are JSON already, each behind its number."""
    items, more = _taken(found, cut.limit, lambda item: len(item[1]))
    info = _info(items[-1][0] if more else None).model_dump_json(by_alias=True).encode()
    return b'{"data":[%b],"pageInfo":%b}' % (b",".join(json for _, json in items), info)


def _info(last: int | None) -> PageInfo:
    """`last`: the number of the page's last item, if there is a next page."""
    return PageInfo(has_more=last is not None, next_cursor=None if last is None else _cursor(last))


def _taken(found: Iterable[Item], limit: int, size_of: Callable[[Item], int]) -> tuple[list[Item], bool]:
    """At most `limit` items, and fewer where they are large; and whether there are more."""
    items: list[Item] = []
    size = 0
    for item in found:
        if len(items) == limit or size >= MAX_PAGE_CHARACTERS:
            return items, True
        items.append(item)
        size += size_of(item)
    return items, False


def _characters(row: Columns) -> int:
    return sum(len(value) for value in row.values() if type(value) is str)


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"n{number}".encode()).decode().rstrip("=")


def _number(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        number = int(text.removeprefix("n"))
    except ValueError:
        raise Invalid.field("cursor", "must be a cursor from an earlier page") from None
    if text != f"n{number}" or not 0 <= number <= LAST:
        raise Invalid.field("cursor", "must be a cursor from an earlier page")
    return number
