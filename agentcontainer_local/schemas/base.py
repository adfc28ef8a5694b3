"""What every schema is made from."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError


class Shape(BaseModel):
    # defer_build: each shape is built when it is first used; all of them took a tenth of a second of every start.
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        protected_namespaces=(),
        json_schema_serialization_defaults_required=True,
        defer_build=True,
    )

    @classmethod
    def made(cls, **values: Any) -> Self:
        """From values under their names here alone: at half the price of looking for the wire's names as well."""
        return cls.model_validate(values, by_alias=False, by_name=True)


class Request(Shape):
    model_config = ConfigDict(extra="forbid", strict=True, validate_by_name=False)


def fault(field: str, message: str) -> PydanticCustomError:
    """A broken rule between fields, said of one of them."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})


_IS_NONE = partial(operator.is_, None)  # a lambda takes twice as long, for each field of each answer


def optional(**about: Any) -> Any:
    """A field of an answer that is left out when there is nothing to say."""
    return Field(None, exclude_if=_IS_NONE, **about)


def required(name: str) -> Callable[[dict[str, Any]], None]:
    """For the OpenAPI document: this text is required. What a request without it gets is decided elsewhere.

    A schema that requires one of two fields is lost in most generated clients.
    """

    def change(schema: dict[str, Any]) -> None:
        schema["required"] = [name]
        schema["properties"][name]["type"] = "string"
        schema["properties"][name].pop("default", None)

    return change
