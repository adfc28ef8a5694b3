"""Extensions: fields that the published documents of the hosted service do not have, each with a mark.

    max_tokens: Extension[Tokens | None] = None

A test compares the marks with the published documents: a new field without a mark fails it. An operation has its mark
in its `Route`.
"""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

EXTENSION = "x-agentcontainer-extension"  # in the OpenAPI document


class Mark:
    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), EXTENSION: True}


T = TypeVar("T")
Extension = Annotated[T, Mark()]


def is_extension(field: FieldInfo) -> bool:
    return any(isinstance(part, Mark) for part in field.metadata)


def used(request: BaseModel) -> list[str]:
    """The extensions that a request has, by their names on the wire: `["overrides.maxTokens"]`. null counts too."""
    found: list[str] = []
    for name, field in type(request).model_fields.items():
        if name in request.model_fields_set:
            alias = field.alias or name
            inner = [""] if is_extension(field) else _used_in(getattr(request, name))
            found += [f"{alias}.{path}".rstrip(".") for path in inner]
    return found


def _used_in(value: Any) -> list[str]:
    if isinstance(value, BaseModel):
        return used(value)
    if isinstance(value, list):
        return [f"{at}.{path}" for at, one in enumerate(value) for path in _used_in(one)]
    return []


@cache
def added(answer: type[BaseModel]) -> dict[str, Any]:
    """The extensions in an answer, as pydantic's `exclude` takes them."""
    found: dict[str, Any] = {}
    for name, field in answer.model_fields.items():
        if is_extension(field):
            found[name] = True
        elif inner := _added_in(field.annotation):
            found[name] = inner
    return found


def _added_in(annotation: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return added(annotation)
    parts: Iterable[Any] = get_args(annotation)
    inner = next(filter(None, map(_added_in, parts)), {})
    return {"__all__": inner} if inner and getattr(annotation, "__origin__", None) is list else inner
