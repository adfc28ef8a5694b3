"""Operations as methods of the clients: with a signature and a docstring that `help()` can show."""

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import GenericAlias
from typing import Any

from pydantic import BaseModel

from agentcontainer_local.client.effects import Program


def blocking(owner: type, name: str, program: Callable[..., Program[Any]], of: type | None) -> Any:
    def value(self: Any, *given: Any, **fields: Any) -> Any:
        return self._run(_called(program, given, fields))

    def values(self: Any, *given: Any, **fields: Any) -> Any:
        return self._iterate(_called(program, given, fields))

    return _described(values if of else value, owner, name, program, GenericAlias(Iterator, of) if of else None)


def awaiting(owner: type, name: str, program: Callable[..., Program[Any]], of: type | None) -> Any:
    async def value(self: Any, *given: Any, **fields: Any) -> Any:
        return await self._run(_called(program, given, fields))

    def values(self: Any, *given: Any, **fields: Any) -> Any:
        return self._iterate(_called(program, given, fields))

    return _described(values if of else value, owner, name, program, GenericAlias(AsyncIterator, of) if of else None)


def _called(program: Callable[..., Program[Any]], given: tuple[Any, ...], fields: dict[str, Any]) -> Program[Any]:
    """A whole request as the last argument, a dict or a shape, counts as its fields."""
    *before, last = given or (None,)
    if _takes_fields(program) and isinstance(last, BaseModel | Mapping):
        body = last.model_dump(by_alias=True, exclude_unset=True) if isinstance(last, BaseModel) else last
        return program(*before, **{**body, **fields})
    return program(*given, **fields)


def _takes_fields(program: Callable[..., Any]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in inspect.signature(program).parameters.values())


def _described(method: Any, owner: type, name: str, program: Callable[..., Any], answers: Any) -> Any:
    method.__name__, method.__qualname__, method.__module__ = name, f"{owner.__name__}.{name}", owner.__module__
    method.__doc__ = program.__doc__
    method.__signature__ = signature(program, answers)
    return method


def signature(program: Callable[..., Any], answers: Any) -> inspect.Signature:
    """A program's, as a method's; each field of its TypedDict is a keyword of its own."""
    hints = typing.get_type_hints(program)
    result = answers or typing.get_args(hints.pop("return"))[-1]
    result = None if result is type(None) else result
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for one in inspect.signature(program).parameters.values():
        if one.kind is one.VAR_KEYWORD:
            parameters += _fields(typing.get_args(hints[one.name])[0])
        else:
            parameters.append(one.replace(annotation=hints[one.name]))
    return inspect.Signature(parameters, return_annotation=result)


def _fields(body: Any) -> list[inspect.Parameter]:
    kinds = typing.get_type_hints(body)
    names = sorted(kinds, key=lambda name: name not in body.__required_keys__)  # stable: required ones first
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=kinds[name],
            default=inspect.Parameter.empty if name in body.__required_keys__ else None,
        )
        for name in names
    ]
