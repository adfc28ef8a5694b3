"""Writes agentcontainer_local/client/bodies.py: the requests' shapes as TypedDicts, so that a type checker knows them.

python -m tests.client_bodies
"""

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from agentcontainer_local import schemas

FILE = Path(schemas.__file__).parents[1] / "client" / "bodies.py"
BODIES = (
    schemas.BudgetRequest,
    schemas.UpdateProviderRequest,
    schemas.CreateContainerRequest,
    schemas.UpdateContainerRequest,
    schemas.ForkResourceRequest,
    schemas.CreateAgentRequest,
    schemas.UpdateAgentRequest,
    schemas.CreateKeyRequest,
    schemas.CreateTaskRequest,
    schemas.UpdateTaskRequest,
    schemas.WakeRequest,
    schemas.CreateConversationRequest,
    schemas.CreateMessageRequest,
)
REQUIRED = {("CreateTask", "instructions")}  # or, under its older name, `description`
OPTIONAL = {("Wake", "kind")}  # the client finds it out
LEFT_OUT = {("CreateTask", "description")}
REFUSED = {"input_repositories"}  # whoever sends it
HEAD = '''"""The requests' shapes as TypedDicts, with which a type checker finds a misspelt or missing field.

Made out of the schemas by `python -m tests.client_bodies`; a test compares the two.
"""

from typing import Any, Literal, Required, TypedDict
'''


def text() -> str:
    return HEAD + "".join(f"\n\n{_class(shape)}" for shape in _with_nested(BODIES))


def name_of(shape: type[BaseModel]) -> str:
    return shape.__name__.removesuffix("Request")


def _with_nested(shapes: tuple[type[BaseModel], ...]) -> list[type[BaseModel]]:
    """Each after those that it mentions."""
    found: list[type[BaseModel]] = []
    for shape in shapes:
        inner = tuple(one for field in shape.model_fields.values() for one in _shapes_in(field.annotation))
        found += [one for one in (*_with_nested(inner), shape) if one not in found]
    return list(dict.fromkeys(found))


def _shapes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    annotation = getattr(annotation, "__value__", annotation)  # an alias
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _shapes_in(part)


def _class(shape: type[BaseModel]) -> str:
    name, lines = name_of(shape), []
    for field, about in shape.model_fields.items():
        if (name, field) in LEFT_OUT or field in REFUSED:
            continue
        kind = _kind(about.annotation)
        if (about.is_required() or (name, field) in REQUIRED) and (name, field) not in OPTIONAL:
            kind = f"Required[{kind.removesuffix(' | None')}]"
        lines.append(f"    {field}: {kind}\n")
    return f"class {name}(TypedDict, total=False):\n" + "".join(lines)


def _kind(annotation: Any) -> str:
    annotation = getattr(annotation, "__value__", annotation)  # an alias
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin in (Union, types.UnionType):
        return " | ".join(map(_kind, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]".replace("'", '"')
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_kind, parts))}]"
    if annotation in (None, type(None)):
        return "None"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return name_of(annotation)
    return "Any" if annotation is Any else annotation.__name__


if __name__ == "__main__":
    FILE.write_text(text())
