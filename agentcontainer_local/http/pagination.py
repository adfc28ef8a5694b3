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

# of a page's rows; the last row may exceed it. Encoding larger pages would delay other requests
MAX_PAGE_CHARACTERS = 1024**2


@dataclass(frozen=True)
class Cut:
    """The rows of a page: at most `limit` after number `after`, in ascending or descending order."""

    limit: int
    after: int
    ascending: bool

    @property
    def asked(self) -> dict[str, Any]:
        """Keyword arguments for a query. It asks for one row more, to know whether there is another page."""
        return {"limit": self.limit + 1, "after": self.after, "ascending": self.ascending}


def cut_of(query: PageQuery) -> Cut:
    ascending = query.order == "asc"
    after = _number(query.cursor) if query.cursor else (0 if ascending else LAST)
    return Cut(query.limit, after, ascending)


def page(answer: type[Answer], cut: Cut, found: Iterable[R], shape: Callable[[R], BaseModel]) -> Answer:
    """A page. `found`: the rows for `cut.asked`, each with its `number`."""
    rows, more = _taken(found, cut.limit)
    info = _info(rows[-1]["number"] if more else None)
    return answer(data=[shape(row) for row in rows], page_info=info)


def joined(cut: Cut, found: Iterable[tuple[int, bytes]]) -> bytes:
    """A page as JSON, from pairs of a number and JSON."""
    items: list[bytes] = []
    size, last, more = 0, None, None
    for number, item in found:
        if len(items) == cut.limit or size >= MAX_PAGE_CHARACTERS:
            more = last
            break
        items.append(item)
        size += len(item)
        last = number
    info = _info(more).model_dump_json(by_alias=True).encode()
    return b'{"data":[%b],"pageInfo":%b}' % (b",".join(items), info)


def _info(last: int | None) -> PageInfo:
    """`last`: the number of the page's last item; None if there is no next page."""
    return PageInfo(has_more=last is not None, next_cursor=None if last is None else _cursor(last))


def _taken(found: Iterable[R], limit: int) -> tuple[list[R], bool]:
    """At most `limit` rows, or fewer if they are large; and whether there are more."""
    rows: list[R] = []
    size = 0
    for row in found:
        if len(rows) == limit or size >= MAX_PAGE_CHARACTERS:
            return rows, True
        rows.append(row)
        size += sum(len(value) for value in row.values() if type(value) is str)
    return rows, False


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
