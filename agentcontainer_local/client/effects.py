"""What a program of the client may ask of whoever runs it.

Each operation is written once, as a generator of these effects that returns its answer; `Client` runs it by blocking,
`AsyncClient` by awaiting. Nothing here or in a program does any network I/O itself.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


class Unreachable(Exception):
    """No answer came. `sent`: the request may have reached the server and had its effect."""

    def __init__(self, message: str, sent: bool):
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True)
class Content:
    """A body that is streamed, and can be begun again."""

    size: int
    chunks: Callable[[], Iterator[bytes]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Request:
    method: str
    url: str  # a path below /api/v1, or a whole URL that needs no key
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None  # sent as JSON
    content: Content | None = None  # or this
    read_seconds: float | None = None  # how long the server may be silent, if not as usual


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Send:
    """A request and its whole answer; raises Unreachable into the program."""

    request: Request


@dataclass(frozen=True)
class Open:
    """The same, but a good answer's body is not there yet: `Read` it piece by piece. Closes what was open."""

    request: Request


@dataclass(frozen=True)
class Read:
    """The next piece of the open answer, empty at its end; raises Unreachable where it was cut."""


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Work:
    """Something that blocks, such as writing to a file; the async client does it in a thread."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Emit:
    """A value for who iterates over this program."""

    value: Any


@dataclass(frozen=True)
class Retries:
    """How often this client repeats a request."""


Effect = Send | Open | Read | Pause | Work | Emit | Retries
Program = Generator[Effect, Any, T]
