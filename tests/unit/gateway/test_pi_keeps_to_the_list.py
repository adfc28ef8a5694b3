"""The list of what a call may contain is what the pinned Pi sends: all that it sends, and next to nothing else.

With another version of Pi this says what to add to the list, and what to take from it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcontainer_local.gateway import headers
from agentcontainer_local.gateway.allowed import BODIES
from agentcontainer_local.gateway.allowed.shape import Exactly, Kinds, fault, written
from tests import fake_provider
from tests.fake_provider import Seen
from tests.unit.gateway.pi_speaks import STORIES, Speaking, Story, tell
from tests.unit.gateway.test_with_pi import runtime_home  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pi speaks")]  # each story is told once

SPOKEN: dict[str, list[Seen]] = {}

# On the list though none of the stories makes Pi send it, and why.
UNSEEN = {
    r".*\.ttl|.*\.prompt_cache_(retention|key)": "with PI_CACHE_RETENTION=long, which an image may set",
    r"messages.*<(system|tool_removal)>.*\.cache_control.*": "Pi marks whatever comes last",
    r"messages.*tool_addition>\.tool\.definition\.strict": "a tool is declared in the same way wherever it comes",
    r"responses.*<reasoning>\.(role|content\[\]<(output_)?text>.*)": "Pi echoes what servers of other makers add",
    r"responses.*\.namespace": "Pi echoes it",
    r"completions\.max_tokens": "what models.json may make Pi send to servers of other makers",
    r"completions.*<(developer|assistant)>\.content\[\].*": "their content has the same shape as the others'",
}


@pytest.fixture(scope="module")
def speaking() -> Iterator[Speaking]:
    fake = Speaking()
    with fake_provider.in_thread(fake, lifespan="off") as fake.port:
        yield fake


def spoken(speaking: Speaking, folder: Path, runtime: Path, story: Story) -> list[Seen]:
    if str(story) not in SPOKEN:
        speaking.seen.clear()
        tell(runtime, folder, f"http://127.0.0.1:{speaking.port}", story)
        SPOKEN[str(story)] = list(speaking.seen)
    return SPOKEN[str(story)]


def dialect(seen: Seen) -> str:
    return seen.path.rsplit("/", 1)[1]


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_whatever_pi_sends_is_on_the_list(speaking, tmp_path, runtime_home, story):  # noqa: F811
    for seen in spoken(speaking, tmp_path, runtime_home, story):
        found = fault(BODIES[dialect(seen)], seen.json)
        assert found is None, written(found.path)
        headers.check((name.encode(), value.encode()) for name, value in seen.headers)


def rows(shape: Any, path: str = "") -> Iterator[str]:
    """The fields of a list, each with the kinds of objects on the way to it."""
    if isinstance(shape, dict):
        for name, inner in shape.items():
            yield f"{path}.{name}"
            yield from rows(inner, f"{path}.{name}")
    elif isinstance(shape, list):
        yield from rows(shape[0], f"{path}[]")
    elif isinstance(shape, Kinds):
        for kind, inner in shape.shapes.items():
            yield f"{path}<{kind}>"
            yield from rows(inner, f"{path}<{kind}>")
    elif isinstance(shape, tuple):
        for one in shape:
            yield from rows(one, path)
    elif isinstance(shape, Exactly):
        yield from rows(shape.otherwise, path)


def used(shape: Any, value: Any, path: str = "") -> Iterator[str]:
    """The same, as far as a value has them."""
    if isinstance(shape, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from used(shape[name], inner, f"{path}.{name}")
    elif isinstance(shape, list):
        for one in value:
            yield from used(shape[0], one, f"{path}[]")
    elif isinstance(shape, Kinds):
        field, inner = shape.of(value)
        yield f"{path}<{value[field]}>"
        yield from used(inner, value, f"{path}<{value[field]}>")
    elif isinstance(shape, tuple):
        found = next(one for one in shape if fault(one, value) is None)
        yield from used(found, value, path)
    elif isinstance(shape, Exactly) and value != shape.value:
        yield from used(shape.otherwise, value, path)


def test_next_to_nothing_else_is_on_the_list(speaking, tmp_path, runtime_home):  # noqa: F811
    seen: dict[str, set[str]] = {name: set() for name in ("messages", "responses", "completions")}
    for number, story in enumerate(STORIES):
        (folder := tmp_path / str(number)).mkdir()
        for one in spoken(speaking, folder, runtime_home, story):
            seen[dialect(one)].update(used(BODIES[dialect(one)], one.json))
    unseen = [name + row for name in seen for row in sorted(set(rows(BODIES[name])) - seen[name])]
    assert [row for row in unseen if not any(re.fullmatch(known, row) for known in UNSEEN)] == []
    assert [known for known in UNSEEN if not any(re.fullmatch(known, row) for row in unseen)] == []
