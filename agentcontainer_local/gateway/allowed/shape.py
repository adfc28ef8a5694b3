"""The notation of the allowlists, and the comparison of a JSON value with one.

A shape is one of:
- `str`, `int`, `bool`, `None`: any value of this type;
- a frozenset: one of these values;
- a compiled pattern: a string whose beginning matches;
- `{name: shape}`: an object with any of these fields, and no others;
- `[shape]`: a list of any length;
- `(shape, …)`: one of these shapes, which must have different JSON types;
- `Kinds`: an object whose kind decides its shape;
- `Exactly`: this exact value;
- `FREE`: any JSON, for text of the model and for schemas of a tool's arguments, which have no other effect.
"""

import re
from dataclasses import dataclass
from typing import Any

FREE = object()
MAX_PATH_PARTS = 12
MAX_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class Kinds:
    """An object whose kind is the value of the first of these `fields` that it has."""

    shapes: dict[str, Any]
    fields: tuple[str, ...] = ("type",)

    def of(self, value: Any) -> tuple[str, Any]:
        """The field with the kind, and the shape. The shape is None if the kind is not allowed."""
        field = next((name for name in self.fields if name in value), self.fields[0])
        kind = value.get(field)
        return field, self.shapes.get(kind) if type(kind) is str else None


@dataclass(frozen=True)
class Exactly:
    """This exact value. `otherwise`: the shape for all other values."""

    value: Any
    otherwise: Any = ()


@dataclass(frozen=True)
class Fault:
    """The place where a value does not fit its shape. `unknown`: the shape has no such field."""

    path: tuple[str | int, ...] = ()
    unknown: bool = False

    def within(self, step: str | int) -> "Fault":
        return Fault((step, *self.path), self.unknown)


def fault(shape: Any, value: Any) -> Fault | None:
    """The first fault, or None if the value fits the shape."""
    kind = type(shape)
    if kind is dict:
        return _of_object(shape, value) if type(value) is dict else Fault()
    if kind is list:
        return _of_list(shape[0], value) if type(value) is list else Fault()
    if kind is Kinds:
        return _of_kind(shape, value) if type(value) is dict else Fault()
    if kind is tuple:
        return next((fault(one, value) for one in shape if _suits(one, value)), Fault())
    if kind is Exactly:
        return None if value == shape.value else fault(shape.otherwise, value)
    return None if _is_plain(shape, value) else Fault()


def _of_object(shape: dict[str, Any], value: dict[str, Any]) -> Fault | None:
    for name, inner in value.items():
        if name not in shape:
            return Fault((name,), unknown=True)
        if (found := fault(shape[name], inner)) is not None:
            return found.within(name)
    return None


def _of_list(shape: Any, value: list[Any]) -> Fault | None:
    for number, inner in enumerate(value):
        if (found := fault(shape, inner)) is not None:
            return found.within(number)
    return None


def _of_kind(shape: Kinds, value: dict[str, Any]) -> Fault | None:
    field, found = shape.of(value)
    return Fault((field,)) if found is None else _of_object(found, value)


def _suits(shape: Any, value: Any) -> bool:
    if type(shape) in (dict, Kinds):
        return type(value) is dict
    if type(shape) is list:
        return type(value) is list
    return _is_plain(shape, value)


def _is_plain(shape: Any, value: Any) -> bool:
    if shape is FREE:
        return True
    if shape is None:
        return value is None
    if isinstance(shape, type):
        return type(value) is shape
    if isinstance(shape, frozenset):
        return type(value) in (str, bool) and value in shape
    return isinstance(shape, re.Pattern) and type(value) is str and bool(shape.match(value))


def written(path: tuple[str | int, ...]) -> str:
    """The path in JavaScript notation: `input[3].tools[0].server_url`. Names come from the guest, so they are shortened
    and cleaned."""
    text = ""
    for step in path[:MAX_PATH_PARTS]:
        text += f"[{step}]" if isinstance(step, int) else f".{_plain(step)}"
    return text.removeprefix(".")


def _plain(name: str) -> str:
    short = name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:MAX_NAME_CHARACTERS]}…"
    return "".join(one if one.isprintable() and one != "`" else "?" for one in short)
