"""JSON Schema in a form that client generators understand."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

# The largest value that languages with sized integers support. As a maximum, `format` already implies it.
INT64_MAX = 2**63 - 1


class JsonSchema(GenerateJsonSchema):
    """pydantic's JSON Schema without generated titles, and with these changes:

    - Integers are int64 and numbers double: without a format, Go and Java use 32 bits.
    - A nullable plain type is `type: [string, 'null']`, which more generators support than `anyOf`.
    - There is no `default: null`: some generators make a field required, or nullable, because of it.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def int_schema(self, schema: Any) -> dict[str, Any]:
        made = super().int_schema(schema) | {"format": "int64"}
        return {name: value for name, value in made.items() if value != INT64_MAX}

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return super().float_schema(schema) | {"format": "double"}

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        made = super().nullable_schema(schema)
        match made:
            case {"anyOf": [{"type": str(type)} as plain, {"type": "null"}]} if "enum" not in plain:
                return {**plain, "type": [type, "null"]}
        return made

    def default_schema(self, schema: Any) -> dict[str, Any]:
        made = super().default_schema(schema)
        if self.mode == "serialization" or made.get("default") is None:  # an answer always has all its fields
            made.pop("default", None)
        return made
