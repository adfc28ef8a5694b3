"""Fields of the API, named in errors by the flag or argument of the command that sets them."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

from pydantic.alias_generators import to_snake

# Fields whose flag has another name. A flag that begins or ends a field's name is found without this:
# --max-runtime is max_runtime_seconds, --image is container_image.
OTHERS = {
    "allowed_hosts": "allow_host",
    "expires_in_seconds": "days",
    "input_file_ids": "input",
    "output_policy": "expect",
    "provider_api_key": "key",
}
FIELD = re.compile(
    r"`?\b((?:[a-z]\w*\.)*[a-z]+(?:[A-Z]\w*)+)\b`?"
)  # in a sentence: containerImage, overrides.maxTokens


def of(function: Callable[..., Any]) -> dict[str, str]:
    """`{"max_runtime": "--max-runtime", "instructions": "INSTRUCTIONS"}`, from the function's annotations."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        for option in get_args(parameter.annotation)[1:]:
            names = (option.default, *(option.param_decls or ()))  # in Annotated, typer takes the first for a default
            long = [name.split("/")[0] for name in names if isinstance(name, str) and name.startswith("--")]
            is_argument = type(option).__name__ == "ArgumentInfo"
            found[name] = (
                option.metavar or name.upper() if is_argument else (long or [f"--{name.replace('_', '-')}"])[0]
            )
    return found


def flag(field: str, own: Mapping[str, str]) -> str | None:
    """Of `overrides.maxRuntimeSeconds`, `writable_paths.0`; None where the command has none for it."""
    for part in reversed(field.split(".")):
        name = to_snake(part)
        name = OTHERS.get(name, name)
        fitting = [one for one in own if name == one or name.startswith(f"{one}_") or name.endswith(f"_{one}")]
        if fitting:
            return own[max(fitting, key=len)]
    return None


def explained(message: str, fields: Iterable[Mapping[str, str]], own: Mapping[str, str]) -> str:
    """One line for each field at fault; else the message, with the fields in it replaced by flags."""
    lines = [_line(field["field"], _replaced(field["message"], own), own) for field in fields]
    return "\n".join(lines) or _replaced(message, own)


def _line(field: str, message: str, own: Mapping[str, str]) -> str:
    return message if field == "(body)" else f"{flag(field, own) or field}: {message}"


def _replaced(message: str, own: Mapping[str, str]) -> str:
    return FIELD.sub(lambda found: flag(found[1], own) or found[0], message)
