"""Validation errors as fields and sentences, the same in the API, the client and the command line."""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

MESSAGES = {
    "extra_forbidden": "Unknown field",
    "missing": "Field required",
    "greater_than": "Must be more than {gt}",
    "greater_than_equal": "Must be at least {ge}",
    "less_than": "Must be less than {lt}",
    "less_than_equal": "Must be at most {le}",
    "string_type": "Must be text",
    "string_too_short": "Must have at least {min_length} characters",
    "string_too_long": "Must have at most {max_length} characters",
    "too_short": "Must have at least {min_length} entries, has {actual_length}",
    "too_long": "Must have at most {max_length} entries",
    "int_type": "Must be a whole number",
    "int_parsing": "Must be a whole number",
    "int_from_float": "Must be a whole number",
    "float_type": "Must be a number",
    "float_parsing": "Must be a number",
    "finite_number": "Must be a finite number",
    "bool_type": "Must be true or false",
    "bool_parsing": "Must be true or false",
    "list_type": "Must be a list",
    "dict_type": "Must be an object",
    "model_type": "Must be an object",
    "model_attributes_type": "Must be an object",
    "literal_error": "Must be {expected}",
    "value_error": "{error}",
}
TAGS = frozenset({"any", "none", "at_least_one", "named"})  # of the output policies: not part of a field's name
WHOLE = "(body)"
MAX_NAME_CHARACTERS = 100


def found(error: ValidationError) -> list[dict[str, str]]:
    """`[{"field": "overrides.outputPolicy.files.0.name", "message": "Must be text"}]`; "(body)" is the whole.

    Never with the input, which may be a key.
    """
    return [
        {"field": _field(fault), "message": _message(fault)}
        for fault in error.errors(include_url=False, include_input=False)
    ]


def _message(fault: ErrorDetails) -> str:
    template = MESSAGES.get(fault["type"])
    return (
        template.format(**{name: _plain(value) for name, value in fault.get("ctx", {}).items()})
        if template
        else fault["msg"]
    )


def _plain(value: Any) -> Any:
    """0.000001, not 1e-06."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _field(fault: ErrorDetails) -> str:
    place = [str(part)[:MAX_NAME_CHARACTERS] for part in fault["loc"]]
    place = [
        part
        for before, part in zip(["", *place], place, strict=False)
        if not (before == "outputPolicy" and part in TAGS)
    ]
    if fault["type"] == "rule":
        place.append(fault["ctx"]["field"])
    return ".".join(place) or WHOLE
